//! The limits on connections and streams, and which connection is closed for a new one.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tautan::http::{Caps, Settings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{Server, Setup, in_time};

async fn with(caps: Caps) -> Server {
    let http = Settings { caps, ..Settings::default() };
    Setup { http, ..Setup::default() }.start().await
}

fn from(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

async fn connect(server: &Server, from: IpAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    in_time(socket.connect(server.host().parse().unwrap())).await.unwrap()
}

/// The status of the answer; `None`: closed without one.
async fn ask(socket: &mut TcpStream, path: &str, token: &str) -> Option<u16> {
    let token = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{token}\r\n");
    let mut answer = [0; 4_096];
    let length = in_time(async {
        socket.write_all(request.as_bytes()).await.ok()?;
        socket.read(&mut answer).await.ok()
    });
    let length = length.await.filter(|length| *length > 0)?;
    std::str::from_utf8(&answer[..length]).unwrap()[9..12].parse().ok()
}

/// An idle connection after one answer.
async fn idle(server: &Server, from: IpAddr) -> TcpStream {
    let mut socket = connect(server, from).await;
    // It may be closed at once if the connection of the same address is closed for it.
    ask(&mut socket, "/healthz", "").await;
    socket
}

fn is_open(socket: &TcpStream) -> bool {
    match socket.try_read(&mut [0; 64]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

const CAPS: Caps = Caps { connections: 40, without_token: 20, per_address: 5, per_tenant: 10, streams: 20 };

/// With 200 descriptors such clients used them all.
#[tokio::test]
async fn hardening_idle_connections_keep_no_user_out() {
    let server = with(CAPS).await;
    let (mut stranger, mut signed_in) = (connect(&server, from(2)).await, connect(&server, from(2)).await);
    assert_eq!(ask(&mut signed_in, "/api/whatsapp/status", &server.token("a")).await, Some(200));
    assert_eq!(ask(&mut stranger, "/api/whatsapp/status", "no token").await, Some(401));
    let mut stream = connect(&server, from(3)).await;
    assert_eq!(ask(&mut stream, "/api/whatsapp/events", &server.token("a")).await, Some(200));

    let mut attackers = Vec::new();
    for number in 0..200 {
        attackers.push(idle(&server, from(2 + number % 8)).await);
    }
    for last in 100..110 {
        let mut user = connect(&server, from(last)).await;
        assert_eq!(ask(&mut user, "/api/whatsapp/status", &server.token("b")).await, Some(200), "{last}");
    }
    let open = attackers.iter().filter(|socket| is_open(socket)).count();
    assert!(open <= CAPS.without_token, "{open}");
    assert!(is_open(&stream), "a stream is no idle connection");
    assert_eq!(
        ask(&mut signed_in, "/api/whatsapp/status", &server.token("a")).await,
        Some(200),
        "it has shown a token"
    );
    assert_eq!(ask(&mut stranger, "/healthz", "").await, None, "it has not");
}

#[tokio::test]
async fn address_over_its_limit_loses_its_oldest_connection() {
    let server = with(CAPS).await;
    let mut theirs = Vec::new();
    for _ in 0..8 {
        theirs.push(idle(&server, from(2)).await);
    }
    let open: Vec<_> = theirs.iter().map(is_open).collect();
    assert_eq!(open, [false, false, false, true, true, true, true, true]);
    let mut proxys = Vec::new();
    for _ in 0..8 {
        proxys.push(idle(&server, from(1)).await);
    }
    assert!(proxys.iter().all(is_open), "a proxy on this machine brings the connections of many users");
}

/// The server waits for the body of this command for 10 s, and the connection is not idle meanwhile.
async fn leave_out_a_body(socket: &mut TcpStream) {
    let head = "POST /api/whatsapp/disconnect HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut answer = [0; 64];
    socket.write_all(head.as_bytes()).await.unwrap();
    let length = in_time(socket.read(&mut answer)).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 100 "), "{answer:?}");
}

/// Before tenants had a share, all eight belonged to one of them, and no other tenant was let in.
#[tokio::test]
async fn hardening_tenant_with_unsent_bodies_keeps_no_other_out() {
    let caps = Caps { connections: 8, without_token: 4, per_address: 2, per_tenant: 4, streams: 8 };
    let (server, mut open) = (with(caps).await, Vec::new());
    for _ in 0..caps.connections {
        let mut socket = connect(&server, from(2)).await;
        if ask(&mut socket, "/api/whatsapp/status", &server.token("a")).await == Some(200) {
            leave_out_a_body(&mut socket).await;
            open.push(socket);
        }
    }
    let mut other = connect(&server, from(3)).await;
    assert_eq!(ask(&mut other, "/api/whatsapp/status", &server.token("b")).await, Some(200));
    assert_eq!(open.len(), caps.per_tenant + caps.per_address, "beyond the share they count for their address");
    let mut beyond = connect(&server, from(4)).await;
    assert_eq!(ask(&mut beyond, "/api/whatsapp/status", &server.token("a")).await, Some(200), "it is answered too");
}

/// What the kernel holds of the server's answers.
fn unread_bytes(server: &Server, client: &TcpStream) -> usize {
    let ports = [server.host().parse::<SocketAddr>().unwrap(), client.local_addr().unwrap()].map(|at| at.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let [local, remote] = ports.map(|port| format!("0100007F:{port:04X}"));
    let row = rows.into_iter().find(|row| row[1] == local && row[2] == remote).expect("it is open");
    usize::from_str_radix(row[4].split(':').next().unwrap(), 16).unwrap()
}

#[tokio::test]
async fn hardening_unread_answers_take_little_of_the_kernel() {
    let server = with(CAPS).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut client = socket.connect(server.host().parse().unwrap()).await.unwrap();
    let asks =
        async { while client.write_all(b"GET /static/whatsapp-link.js HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_secs(3), asks).await.is_err(), "it is closed");
    let unread = unread_bytes(&server, &client);
    assert!((10_000..200_000).contains(&unread), "{unread}");
}

/// While as many connections as allowed are being answered, none is closed for another one.
#[tokio::test]
async fn connection_is_refused_when_none_is_idle() {
    let server = with(Caps { connections: 4, ..CAPS }).await;
    let mut streams = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let mut stream = connect(&server, from(2)).await;
        assert_eq!(ask(&mut stream, "/api/whatsapp/events", &server.token(name)).await, Some(200));
        streams.push(stream);
    }
    let mut refused = connect(&server, from(3)).await;
    assert_eq!(ask(&mut refused, "/healthz", "").await, None);
    assert!(streams.iter().all(is_open));
    drop(streams);
    let answered = async { while ask(&mut connect(&server, from(3)).await, "/healthz", "").await != Some(200) {} };
    in_time(answered).await;
}

/// With another status an EventSource would never come back.
#[tokio::test]
async fn stream_beyond_the_limit_of_the_instance_ends_at_once() {
    let server = with(Caps { streams: 2, ..CAPS }).await;
    let (first, _second) = (server.stream("a").await, server.stream("b").await);
    let mut third = server.stream("c").await;
    assert_eq!(third.retry_ms, 30_000);
    assert!(third.rest().await.is_empty(), "it ends");
    drop(first);
    let is_open = async { while server.stream("c").await.retry_ms > 5_000 {} };
    in_time(is_open).await;
}
