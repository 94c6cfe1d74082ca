//! A stream's connection as a client that speaks plain HTTP/1 sees it.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Server, Setup, in_time};

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.host()).await.unwrap()
}

fn request(server: &Server, version: &str) -> String {
    let token = server.token("toko");
    format!("GET /api/whatsapp/events HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n")
}

/// Reads on until all of it contains `text`.
async fn read_until(socket: &mut TcpStream, all: &mut String, text: &str) {
    in_time(async {
        let mut bytes = [0; 4096];
        while !all.contains(text) {
            let count = socket.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "the connection ended after {all:?}");
            all.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    })
    .await;
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

async fn read_to_end(socket: &mut TcpStream, all: &mut String) {
    in_time(socket.read_to_string(all)).await.unwrap();
}

#[tokio::test]
async fn stream_is_chunked_where_its_client_knows_chunks() {
    for (version, chunked) in [("1.0", false), ("1.1", true)] {
        let server = Server::start().await;
        let mut socket = connect(&server).await;
        socket.write_all(request(&server, version).as_bytes()).await.unwrap();
        let mut all = String::new();
        read_until(&mut socket, &mut all, "never-linked").await;
        server.own("toko").await.show_qr("one", 60).await;
        read_until(&mut socket, &mut all, "\"qrText\":\"one\"").await;
        server.end_streams.cancel();
        read_to_end(&mut socket, &mut all).await;
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
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
    let mut socket = connect(&server).await;
    let with_origin = request(&server, "1.1").replace("host: x\r\n", "host: x\r\norigin: https://app.example.com\r\n");
    socket.write_all(with_origin.as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "\r\n\r\n").await;
    assert!(all.contains("access-control-allow-origin: https://app.example.com\r\n"), "{all}");
}

#[tokio::test]
async fn answer_before_a_stream_is_written_before_it() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    let both = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n{}", request(&server, "1.1"));
    socket.write_all(both.as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "never-linked").await;
    let heads: Vec<_> = all.match_indices("HTTP/1.1 200 OK\r\n").collect();
    assert_eq!(heads.len(), 2, "{all}");
    assert_eq!(heads[0].0, 0);
    assert!(all[..heads[1].0].ends_with("ok") || all[..heads[1].0].ends_with("ok\n"), "{all}");
}

/// The first answer is larger than the kernel takes from us while the client does not read.
#[tokio::test]
async fn large_answer_before_a_stream_is_written_whole() {
    let server = Server::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut socket = socket.connect(server.host().parse().unwrap()).await.unwrap();
    let asset = "GET /static/whatsapp-link.js HTTP/1.1\r\nhost: x\r\n\r\n";
    let rounds = 40;
    let all = format!("{}{}", asset.repeat(rounds), request(&server, "1.1"));
    socket.write_all(all.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut all = String::new();
    read_until(&mut socket, &mut all, r#"data: {"status":"disconnected""#).await;
    let lengths: Vec<usize> =
        all.split("content-length: ").skip(1).map(|rest| rest.split("\r\n").next().unwrap().parse().unwrap()).collect();
    assert_eq!(lengths.len(), rounds);
    assert!(
        lengths[0] > 5_000 && all.len() > lengths.iter().sum(),
        "{} of {}",
        all.len(),
        lengths.iter().sum::<usize>()
    );
    assert_eq!(all.matches("HTTP/1.1 200 OK\r\n").count(), rounds + 1);
}

#[tokio::test]
async fn request_behind_a_stream_has_no_answer() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    let both = format!("{}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", request(&server, "1.1"));
    socket.write_all(both.as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "never-linked").await;
    server.own("toko").await.show_qr("one", 60).await;
    read_until(&mut socket, &mut all, "\"qrText\":\"one\"").await;
    server.end_streams.cancel();
    read_to_end(&mut socket, &mut all).await;
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
}

#[tokio::test]
async fn stream_ends_when_its_client_closes_its_side() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    socket.write_all(request(&server, "1.1").as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "never-linked").await;
    socket.shutdown().await.unwrap();
    read_to_end(&mut socket, &mut all).await;
    assert_eq!(server.own("toko").await.show_qr("one", 60).await, 0, "the place is free");
}

#[tokio::test]
async fn client_that_sends_without_end_waits_and_keeps_its_stream() {
    let server = Server::start().await;
    let mut socket = connect(&server).await;
    socket.write_all(request(&server, "1.1").as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "never-linked").await;
    let (mut reading, mut writing) = socket.into_split();
    let sent = timeout(Duration::from_secs(2), async {
        let mut sent = 0;
        loop {
            sent += writing.write(&[b'x'; 64 * 1024]).await.unwrap();
            assert!(sent < 64 << 20, "the server reads all of it");
        }
    });
    assert!(sent.await.is_err(), "what is not read lets the client wait");
    server.own("toko").await.show_qr("one", 60).await;
    in_time(async {
        let mut bytes = [0; 4096];
        while !all.contains("\"qrText\":\"one\"") {
            let count = reading.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "the stream ended");
            all.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    })
    .await;
}

/// 20 s after the last byte that its kernel has accepted.
#[tokio::test]
async fn reader_that_does_not_read_is_cut() {
    let mut setup = Setup::default();
    setup.http.streams_per_tenant_max = 1;
    let server = setup.start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut socket = socket.connect(server.host().parse().unwrap()).await.unwrap();
    socket.write_all(request(&server, "1.1").as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "never-linked").await;
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

#[tokio::test]
async fn slow_reader_that_reads_is_not_cut() {
    let server = Server::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut socket = socket.connect(server.host().parse().unwrap()).await.unwrap();
    socket.write_all(request(&server, "1.1").as_bytes()).await.unwrap();
    let mut all = String::new();
    read_until(&mut socket, &mut all, "never-linked").await;
    let owner = server.own("toko").await;
    // More than both kernels hold, less than 16 updates behind what they hold.
    for round in 0..24 {
        owner.show_qr(&format!("code {round}"), 60).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    owner.connected("6281234567890", None).await;
    let mut bytes = [0; 1_024];
    let slow = async {
        while !all.contains("\"connected\"") {
            let count = socket.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "it was cut");
            all.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    };
    timeout(Duration::from_secs(90), slow).await.expect("all of it arrives");
}
