//! A stream's connection as a client that speaks plain HTTP/1 sees it.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tautan::events::{PairingId, Passkey, PasskeyStep, Status};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Server, Setup, in_time};

fn request(server: &Server, version: &str) -> String {
    let token = server.token("toko");
    format!("GET /api/whatsapp/events HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n")
}

/// A client, and all that it has read.
struct Client {
    socket: TcpStream,
    all: String,
}

impl Client {
    async fn new(server: &Server) -> Self {
        Self { socket: TcpStream::connect(server.host()).await.unwrap(), all: String::new() }
    }

    /// Its receive buffer is as small as possible.
    async fn with_small_buffer(server: &Server) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        Self { socket: socket.connect(server.host().parse().unwrap()).await.unwrap(), all: String::new() }
    }

    async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    async fn open_stream(&mut self, server: &Server) {
        self.send(&request(server, "1.1")).await;
        self.read_until("never-linked").await;
    }

    /// Reads until everything received contains `text`.
    async fn read_until(&mut self, text: &str) {
        in_time(async {
            while !self.all.contains(text) {
                self.read(&mut [0; 4096]).await;
            }
        })
        .await;
    }

    async fn read(&mut self, bytes: &mut [u8]) {
        let count = self.socket.read(bytes).await.unwrap();
        assert_ne!(count, 0, "the connection ended after {:?}", self.all);
        self.all.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }

    async fn read_to_end(&mut self) {
        in_time(self.socket.read_to_string(&mut self.all)).await.unwrap();
    }
}

/// The text of a body of chunks, the last of them included.
fn without_chunks(mut body: &str) -> String {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(size, 16).expect("a hexadecimal size");
        text.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").expect("the line end of a chunk");
        if size == 0 {
            assert_eq!(body, "");
            return text;
        }
    }
}

#[tokio::test]
async fn stream_is_chunked_where_its_client_knows_chunks() {
    for (version, chunked) in [("1.0", false), ("1.1", true)] {
        let server = Server::start().await;
        let mut client = Client::new(&server).await;
        client.send(&request(&server, version)).await;
        client.read_until("never-linked").await;
        server.own("toko").await.show_qr("one", 60).await;
        client.read_until("\"qrText\":\"one\"").await;
        server.end_streams.cancel();
        client.read_to_end().await;
        let (head, body) = client.all.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines[0], "HTTP/1.1 200 OK");
        for line in ["content-type: text/event-stream; charset=utf-8", "connection: close", "x-accel-buffering: no"] {
            assert_eq!(lines.iter().filter(|other| **other == line).count(), 1, "{line} in {head}");
        }
        assert!(lines.iter().any(|line| line.starts_with("date: ") && line.ends_with(" GMT")), "{head}");
        assert_eq!(head.contains("transfer-encoding: chunked\r\n"), chunked, "{head}");
        assert!(!head.contains("content-length") && !head.contains("keep-alive"), "{head}");
        let text = if chunked { without_chunks(body) } else { body.to_owned() };
        assert!(text.starts_with("retry: ") && text.ends_with("\n\n") && !text.contains('\r'), "{text:?}");
    }
}

#[tokio::test]
async fn stream_to_another_origin_has_its_cors_headers() {
    let mut setup = Setup::default();
    setup.http.allowed_origins = vec!["https://app.example.com".into()];
    let server = setup.start().await;
    let mut client = Client::new(&server).await;
    let with_origin = request(&server, "1.1").replace("host: x\r\n", "host: x\r\norigin: https://app.example.com\r\n");
    client.send(&with_origin).await;
    client.read_until("\r\n\r\n").await;
    assert!(client.all.contains("access-control-allow-origin: https://app.example.com\r\n"), "{}", client.all);
}

#[tokio::test]
async fn answer_before_a_stream_is_written_before_it() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let both = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n{}", request(&server, "1.1"));
    client.send(&both).await;
    client.read_until("never-linked").await;
    let heads: Vec<_> = client.all.match_indices("HTTP/1.1 200 OK\r\n").collect();
    assert_eq!(heads.len(), 2, "{}", client.all);
    assert_eq!(heads[0].0, 0);
    assert!(client.all[..heads[1].0].ends_with("ok") || client.all[..heads[1].0].ends_with("ok\n"), "{}", client.all);
}

/// The client reads nothing at first, and the kernel takes 64 KiB for it. Which answer that ends in depends on the machine:
/// the stream is asked for behind any number of them.
#[tokio::test]
async fn large_answer_before_a_stream_is_written_whole() {
    let server = Server::start().await;
    join_all((1..=16).map(|number| is_written_whole(&server, number))).await;
}

async fn is_written_whole(server: &Server, answers: usize) {
    let mut client = Client::with_small_buffer(server).await;
    let asset = "GET /static/whatsapp-link.js HTTP/1.1\r\nhost: x\r\n\r\n";
    let stream = request(server, "1.1").replace(&server.token("toko"), &server.token(&format!("toko-{answers}")));
    client.send(&format!("{}{stream}", asset.repeat(answers))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.read_until(r#"data: {"status":"disconnected""#).await;
    let mut rest = client.all.as_str();
    for answer in 0..answers {
        let (head, body) = rest.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer} of {answers}: {head:?}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        assert!(length > 5_000, "{length}");
        rest = &body[length..];
    }
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "behind {answers}: {:?}", &rest[..rest.len().min(100)]);
    assert!(rest.contains("text/event-stream"));
}

#[tokio::test]
async fn request_behind_a_stream_has_no_answer() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let both = format!("{}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", request(&server, "1.1"));
    client.send(&both).await;
    client.read_until("never-linked").await;
    server.own("toko").await.show_qr("one", 60).await;
    client.read_until("\"qrText\":\"one\"").await;
    server.end_streams.cancel();
    client.read_to_end().await;
    assert_eq!(client.all.matches("HTTP/1.1 ").count(), 1, "{}", client.all);
}

#[tokio::test]
async fn stream_ends_when_its_client_closes_its_side() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    client.open_stream(&server).await;
    client.socket.shutdown().await.unwrap();
    client.read_to_end().await;
    assert_eq!(server.own("toko").await.show_qr("one", 60).await, 0, "the place is free");
}

#[tokio::test]
async fn client_that_sends_without_end_waits_and_keeps_its_stream() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    client.open_stream(&server).await;
    let sent = timeout(Duration::from_secs(2), async {
        let mut sent = 0;
        loop {
            sent += client.socket.write(&[b'x'; 64 * 1024]).await.unwrap();
            assert!(sent < 64 << 20, "the server reads all of it");
        }
    });
    assert!(sent.await.is_err(), "what is not read lets the client wait");
    server.own("toko").await.show_qr("one", 60).await;
    client.read_until("\"qrText\":\"one\"").await;
}

/// 20 s after the last byte that its kernel has accepted.
#[tokio::test]
async fn reader_that_does_not_read_is_cut() {
    let mut setup = Setup::default();
    setup.http.streams_per_tenant_max = 1;
    let server = setup.start().await;
    let mut client = Client::with_small_buffer(&server).await;
    client.open_stream(&server).await;
    let owner = server.own("toko").await;
    let began = Instant::now();
    let mut round = 0;
    // An event each 200 ms: the stream never falls 16 behind before its socket refuses.
    while owner.show_qr(&format!("code {round}"), 60).await > 0 {
        round += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "it is never cut");
    }
    let cut = began.elapsed();
    assert!(cut > Duration::from_secs(20), "no byte was refused for so long: {cut:?}");
}

/// Writing each event takes longer than the time limit for a client that reads nothing.
#[tokio::test]
async fn slow_reader_that_reads_is_not_cut() {
    const BYTES_PER_SECOND: u128 = 600;
    let server = Server::start().await;
    let mut client = Client::with_small_buffer(&server).await;
    client.open_stream(&server).await;
    let owner = server.own("toko").await;
    let large = |number: u32| {
        let options = format!(r#"{{"challenge":"{number:0>15000}"}}"#);
        let (expires_at, pairing) = (server.clock.after(60), PairingId::new(1));
        Status::passkey_required(Passkey { step: PasskeyStep::Assert { options }, expires_at, lifetime: None, pairing })
    };
    // More than both kernels hold, less than 16 updates.
    for number in 0..8 {
        owner.publish(large(number)).await;
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(45) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Computed from the elapsed time: a busy machine must not make a slower reader.
        while (client.all.len() as u128) < began.elapsed().as_millis() * BYTES_PER_SECOND / 1_000 {
            client.read(&mut [0; 256]).await;
        }
    }
    assert!(owner.publish(large(8)).await > 0, "it was cut");
}
