//! Debian's forward proxies with a password, each as its own process. Their outgoing connections come from an address of
//! their own: a server sees what came past them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{DEADLINE, gateway::find, port::Port};

/// Tinyproxy takes few other characters.
pub const PROXY_PASSWORD: &str = "rahasia-dagang_42";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardProxy {
    /// HTTP's CONNECT.
    Tinyproxy,
    /// SOCKS5.
    Microsocks,
}

/// A forward proxy, which may be stopped and started again; killed when dropped.
pub struct RunningProxy {
    kind: ForwardProxy,
    child: Option<Child>,
    port: Port,
    directory: TempDir,
}

impl ForwardProxy {
    pub const ALL: [Self; 2] = [Self::Tinyproxy, Self::Microsocks];

    /// Returns once it listens. `None`: it is not installed, which fails the test in CI.
    pub fn start(self) -> Option<RunningProxy> {
        if find(self.program()).is_none() {
            assert!(std::env::var_os("CI").is_none(), "{} is not installed", self.program());
            println!("NOT RUN: {} is not installed", self.program());
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let mut proxy = RunningProxy { kind: self, child: None, port: Port::reserve(), directory };
        proxy.start_again();
        Some(proxy)
    }

    fn program(self) -> &'static str {
        match self {
            Self::Tinyproxy => "tinyproxy",
            Self::Microsocks => "microsocks",
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Tinyproxy => "http",
            Self::Microsocks => "socks5h",
        }
    }

    /// The source address of the proxy's connections.
    pub fn outgoing(self) -> IpAddr {
        IpAddr::V4(match self {
            Self::Tinyproxy => Ipv4Addr::new(127, 0, 0, 7),
            Self::Microsocks => Ipv4Addr::new(127, 0, 0, 8),
        })
    }
}

impl RunningProxy {
    /// Its URL, with the password that it accepts.
    pub fn url(&self) -> String {
        self.url_with(PROXY_PASSWORD)
    }

    pub fn url_with(&self, password: &str) -> String {
        format!("{}://toko:{password}@127.0.0.1:{}", self.kind.scheme(), self.port.number)
    }

    pub fn start_again(&mut self) {
        let (port, outgoing) = (self.port.number.to_string(), self.kind.outgoing().to_string());
        let mut command = Command::new(find(self.kind.program()).expect("it is installed"));
        match self.kind {
            ForwardProxy::Tinyproxy => {
                let file = self.directory.path().join("configuration");
                let lines = format!(
                    "Port {port}\nListen 127.0.0.1\nBind {outgoing}\nBasicAuth toko {PROXY_PASSWORD}\nTimeout 600\n"
                );
                fs::write(&file, lines).expect("it can be written");
                command.arg("-d").arg("-c").arg(file);
            }
            ForwardProxy::Microsocks => {
                command.args(["-i", "127.0.0.1", "-p", &port, "-b", &outgoing, "-u", "toko", "-P", PROXY_PASSWORD]);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(command.spawn().expect("it is executable"));
        let until = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", self.port.number)).is_err() {
            let ended = child.try_wait().expect("its state can be asked").is_some();
            assert!(!ended && Instant::now() < until, "{:?} does not listen", self.kind);
            sleep(Duration::from_millis(20));
        }
    }

    /// Dies, and all its connections with it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.stop();
    }
}
