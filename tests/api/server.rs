use std::time::{Duration, Instant};

use tautan::{http::serve_metrics, telemetry};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs},
};
use tokio_util::sync::CancellationToken;

use crate::support::{Server, Setup, check_problem, in_time};

pub async fn send(server: &Server, request: &str) -> String {
    send_to(server.host(), request).await
}

async fn send_to(address: impl ToSocketAddrs, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    read(&mut socket).await
}

/// Reads until the server closes.
async fn read(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset after the answer is fine: it had not read all that was sent.
    let _ = in_time(socket.read_to_end(&mut all)).await;
    String::from_utf8(all).unwrap()
}

/// Head and body of a refusal, which closes the connection.
#[track_caller]
fn refusal(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name));
        line.unwrap_or_else(|| panic!("no {name} in {head:?}")).1
    };
    let said = head[9..12].parse().unwrap();
    assert_eq!((header("connection"), header("cache-control")), ("close", "no-store"));
    assert_eq!(header("content-length"), body.len().to_string());
    check_problem(said, header("content-type"), &serde_json::from_str(body).unwrap(), (status, code));
}

#[tokio::test]
async fn request_that_the_parser_refuses_gets_a_problem() {
    let server = Server::start().await;
    let large = "x".repeat(60_000);
    for (request, status, code) in [
        (format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n"), 431, "headers-too-large"),
        (format!("GET /{large} HTTP/1.1\r\nhost: x\r\n\r\n"), 431, "headers-too-large"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200)), 431, "headers-too-large"),
        ("hello\r\n\r\n".into(), 400, "bad-request"),
        ("GET / HTTP/9.9\r\n\r\n".into(), 400, "bad-request"),
        ("G\u{0}T / HTTP/1.1\r\n\r\n".into(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n".into(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n".into(), 400, "bad-request"),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n".into(), 400, "bad-request"),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n".into(), 400, "bad-request"),
    ] {
        refusal(&send(&server, &request).await, status, code);
        // Behind answers that were sent on the same connection.
        let first = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /static/page.js HTTP/1.1\r\nhost: x\r\n\r\n";
        let answers = send(&server, &format!("{first}{request}")).await;
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers:?}");
        refusal(&answers[answers.rfind("HTTP/1.1 ").unwrap()..], status, code);
    }
}

#[tokio::test]
async fn scrape_that_the_parser_refuses_gets_a_problem() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let large = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(60_000));
    let scrapes = async {
        refusal(&send_to(address, &large).await, 431, "headers-too-large");
        refusal(&send_to(address, "hello\r\n\r\n").await, 400, "bad-request");
        stop.cancel();
    };
    in_time(async { tokio::join!(serve_metrics(listener, telemetry::export(), stop.clone()), scrapes) }).await;
}

#[tokio::test]
async fn too_large_headers_get_a_problem() {
    let server = Server::start().await;
    for size in [17_000, 60_000] {
        let answer =
            send(&server, &format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(size))).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{size}: {answer:?}");
    }
    let fits =
        send(&server, &format!("GET /healthz HTTP/1.1\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(14_000)))
            .await;
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits:?}");
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    let server = Server::start().await;
    for junk in
        ["hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let answer = send(&server, junk).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    assert_eq!(server.get("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn stream_ends_when_its_client_disconnects() {
    let mut setup = Setup::default();
    setup.http.streams_per_tenant_max = 1;
    let server = setup.start().await;
    let token = server.token("toko");
    for _ in 0..3 {
        let mut socket = TcpStream::connect(server.host()).await.unwrap();
        let request = format!("GET /api/whatsapp/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        in_time(async {
            // The slot of the last one is freed as soon as the server sees its socket closed.
            loop {
                socket.write_all(request.as_bytes()).await.unwrap();
                let mut head = [0; 12];
                socket.read_exact(&mut head).await.unwrap();
                if &head == b"HTTP/1.1 200" {
                    break;
                }
                socket = TcpStream::connect(server.host()).await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn open_stream_does_not_delay_the_shutdown() {
    let mut server = Server::start().await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(server.stream("toko").await);
    }
    let idle = TcpStream::connect(server.host()).await.unwrap();
    let began = Instant::now();
    server.stop.cancel();
    assert!(in_time(server.running.take().unwrap()).await.unwrap(), "nothing had to be cut");
    assert!(began.elapsed() < Duration::from_secs(5));
    for stream in &mut streams {
        stream.rest().await;
    }
    drop(idle);
    assert!(TcpStream::connect(server.host()).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn endless_request_is_cut_when_the_grace_ends() {
    let mut setup = Setup::default();
    setup.http.grace = Duration::from_millis(300);
    let mut server = setup.start().await;
    let mut socket = TcpStream::connect(server.host()).await.unwrap();
    let token = server.token("toko");
    let head = format!(
        "POST /api/whatsapp/connect HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // Answered only after the request before it.
    assert_eq!(server.get("/healthz").send().await.unwrap().status(), 200);
    server.stop.cancel();
    assert!(!in_time(server.running.take().unwrap()).await.unwrap());
    assert_eq!(read(&mut socket).await, "");
}

#[tokio::test]
async fn hardening_headers_a_byte_at_a_time_are_cut_off() {
    let server = Server::start().await;
    let cut_off = async |before: &str| {
        let mut socket = TcpStream::connect(server.host()).await.unwrap();
        socket.write_all(before.as_bytes()).await.unwrap();
        if !before.is_empty() {
            let mut answer = vec![0; 4096];
            let length = in_time(socket.read(&mut answer)).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        }
        let slowly = async {
            for byte in b"GET /healthz HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'x')) {
                if socket.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), slowly).await;
        assert!(ended.is_ok(), "the connection is closed");
    };
    tokio::join!(cut_off(""), cut_off("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"));
}

/// A balancer keeps connections for its next request, most for a minute.
#[tokio::test]
async fn idle_connection_between_requests_is_kept() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.host()).await.unwrap();
    for _ in 0..2 {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let length = in_time(socket.read(&mut answer)).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        let more = tokio::time::timeout(Duration::from_secs(12), socket.read(&mut answer)).await;
        assert!(more.is_err(), "for longer than headers may take: {more:?}");
    }
}

/// Bytes that a client sends during an answer wait; they do not count as a late request.
#[tokio::test]
async fn stream_goes_on_whatever_its_client_sends() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.host()).await.unwrap();
    let token = server.token("toko");
    let request = format!("GET /api/whatsapp/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 4096];
    assert_ne!(in_time(socket.read(&mut bytes)).await.unwrap(), 0);
    socket.write_all(b"G").await.unwrap();
    let closed = async { while !matches!(socket.read(&mut bytes).await, Ok(0) | Err(_)) {} };
    assert!(tokio::time::timeout(Duration::from_secs(13), closed).await.is_err(), "for longer than headers may take");
}

#[tokio::test]
async fn hardening_silent_connection_is_closed_like_late_headers() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.host()).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut [0; 64])).await;
    assert_eq!(closed.expect("closed").unwrap_or(0), 0);
}

#[tokio::test]
async fn body_that_does_not_arrive_is_given_up_after_10_s() {
    let server = Server::start().await;
    let token = server.token("toko");
    let head = format!(
        "POST /api/whatsapp/connect HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n{{"
    );
    let mut socket = TcpStream::connect(server.host()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(15), socket.read(&mut answer));
    let length = read.await.expect("an answer").unwrap();
    let answer = std::str::from_utf8(&answer[..length]).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request-timeout"), "{answer:?}");
}

#[tokio::test]
#[ignore = "it takes 75 s; `make long` runs it"]
async fn idle_connection_is_closed_after_75_s() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.host()).await.unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_ne!(in_time(socket.read(&mut [0; 4096])).await.unwrap(), 0);
    let began = Instant::now();
    let closed = tokio::time::timeout(Duration::from_secs(90), socket.read(&mut [0; 4096])).await;
    assert_eq!(closed.expect("closed").unwrap_or(0), 0);
    assert!(began.elapsed() > Duration::from_secs(70), "{:?}", began.elapsed());
}

#[tokio::test]
#[ignore = "it takes two minutes; `make long` runs it"]
async fn connection_that_reads_nothing_is_cut_in_two_minutes() {
    let server = Server::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut socket = socket.connect(server.host().parse().unwrap()).await.unwrap();
    let request = b"GET /static/whatsapp-link.js HTTP/1.1\r\nhost: x\r\n\r\n";
    let cut = async { while socket.write_all(request).await.is_ok() {} };
    let began = Instant::now();
    // The kernel looks when it probes whether the client reads again, and doubles the time between two probes.
    tokio::time::timeout(Duration::from_secs(150), cut).await.expect("it is cut");
    assert!(began.elapsed() > Duration::from_secs(50), "{:?}", began.elapsed());
}
