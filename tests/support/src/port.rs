use std::{
    mem::ManuallyDrop,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::TcpSocket;

/// A port on loopback for a server that is started, stopped and started again by its number. Without the socket that is
/// held here the kernel gives the port to another test whenever the server does not listen on it: before its first start,
/// and between a stop and the next start. The socket never listens, so a server that sets `SO_REUSEADDR`, as Redis does,
/// can listen beside it.
///
/// The port is held until the process ends: what a test has left over may ask its server for a moment longer, and would ask
/// another test's.
pub struct Port {
    pub number: u16,
    _held: ManuallyDrop<TcpSocket>,
}

impl Port {
    pub fn reserve() -> Self {
        let held = TcpSocket::new_v4().expect("a socket");
        held.set_reuseaddr(true).expect("a socket that nothing uses yet");
        held.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        Self { number: held.local_addr().expect("it is bound").port(), _held: ManuallyDrop::new(held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(port: u16, reuses: bool) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(reuses)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The kernel gives out no port that a socket without `SO_REUSEADDR` could not bind.
    #[test]
    fn held_port_is_taken_for_all_but_its_own_server() {
        let port = Port::reserve();
        let refused = bind(port.number, false).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        bind(port.number, true).expect("its own server may have it");
        let of_a_test_that_is_over = Port::reserve().number;
        let refused = bind(of_a_test_that_is_over, false).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse, "also when its test is over");
    }
}
