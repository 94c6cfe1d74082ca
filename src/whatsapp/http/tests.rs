use std::time::Instant;

use futures::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::*;
use crate::{proxy::ProxyUrl, whatsapp::dial::tests::proxy};

/// Small enough for a test to reach. Each test has one limit only, so that the other cannot end the request.
const SHORT: Limits = Limits { time_max: Duration::from_millis(500), body_bytes_max: usize::MAX };
const SMALL: Limits = Limits { time_max: Duration::from_secs(3_600), body_bytes_max: 64 << 10 };
/// Far beyond what a request with these limits takes, far below no limit.
const SOON: Duration = Duration::from_secs(10);

/// Answers each request with this beginning, then with `more` again and again.
async fn server(beginning: String, more: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    TaskTracker::new().spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let beginning = beginning.clone();
            open.spawn(async move {
                let mut question = [0; 4096];
                let _ = socket.read(&mut question).await;
                let _ = socket.write_all(beginning.as_bytes()).await;
                while !more.is_empty() && socket.write_all(more).await.is_ok() {}
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

async fn ask(address: &str, limits: Limits) -> anyhow::Result<HttpResponse> {
    let clients = Clients::new(&format!("ws://{address}/ws/chat"), Check::Skipped, limits);
    let http = clients.on(&Route::Direct);
    let asked = http.execute(HttpRequest::get(format!("http://{address}/sw.js")));
    let begun = Instant::now();
    let answer = tokio::time::timeout(SOON, asked).await.expect("a request ends");
    println!("{:?} after {:?}", answer.as_ref().map(|answer| answer.status_code), begun.elapsed());
    answer
}

#[tokio::test]
async fn silent_server_ends_the_request() {
    ask(&server(String::new(), b"").await, SHORT).await.unwrap_err();
}

#[tokio::test]
async fn server_that_stops_within_its_answer_is_given_up() {
    let beginning = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin";
    ask(&server(beginning.into(), b"").await, SHORT).await.unwrap_err();
}

#[tokio::test]
async fn body_without_an_end_is_given_up() {
    ask(&server("HTTP/1.1 200 OK\r\n\r\n".into(), &[b'x'; 4096]).await, SMALL).await.unwrap_err();
}

#[tokio::test]
async fn body_that_trickles_is_given_up() {
    ask(&server("HTTP/1.1 200 OK\r\n\r\n".into(), b"x").await, SHORT).await.unwrap_err();
}

#[tokio::test]
async fn whole_answer_is_returned_with_its_status() {
    for (status, expected) in [("200 OK", 200), ("404 Not Found", 404)] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nbegin");
        let answer = ask(&server(answer, b"").await, SMALL).await.unwrap();
        assert_eq!((answer.status_code, &*answer.body), (expected, &b"begin"[..]));
    }
}

#[tokio::test]
async fn redirect_leads_nowhere() {
    let elsewhere = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), b"").await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/sw.js\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(ask(&server(redirect, b"").await, SMALL).await.unwrap().status_code, 302);
}

#[tokio::test]
async fn request_goes_through_the_proxy_of_its_link_alone() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    // It answers for the target itself.
    let (port, seen) =
        proxy(&[&[5, 0], &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy"]).await;
    let url = ProxyUrl::parse(&format!("socks5://127.0.0.1:{port}")).unwrap();
    let http = Clients::new(&format!("ws://{address}/ws/chat"), Check::Skipped, SMALL).on(&Route::Through(url));
    let asked = http.execute(HttpRequest::get(format!("http://{address}/sw.js")));
    let answer = tokio::time::timeout(SOON, asked).await.expect("a request ends").unwrap();
    assert_eq!((answer.status_code, &*answer.body), (200, &b"proxy"[..]));
    let seen = seen.await.unwrap();
    assert!(seen[1].ends_with(&address.port().to_be_bytes()), "the proxy is given the target: {:?}", seen[1]);
    assert!(seen[2].starts_with(b"GET /sw.js HTTP/1.1\r\n"), "{:?}", seen[2]);
    assert!(target.accept().now_or_never().is_none(), "a connection went past the proxy");
}

#[tokio::test]
async fn http_asks_whatsapp_or_the_simulator_and_nothing_else() {
    let (real, simulator) = ("wss://web.whatsapp.com/ws/chat", "ws://127.0.0.1:5222/ws/chat");
    let whatsapps =
        ["https://web.whatsapp.com/sw.js", "https://mmg.whatsapp.net/v/t62", "https://a.cdn.whatsapp.net:443/x"];
    let simulators = ["http://127.0.0.1:5222/sw.js"];
    let others = [
        "http://web.whatsapp.com/sw.js",
        "https://whatsapp.net.example.com/",
        "https://evilwhatsapp.net/",
        "https://web.whatsapp.com:8443/",
        "https://mmg.whatsapp.net@example.com/",
        "http://127.0.0.1:5223/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "",
    ];
    for url in whatsapps.iter().chain(&simulators).chain(&others) {
        let reached = |url: &str, dialled, check| Reach::of(dialled, check).allows(url);
        assert_eq!(reached(url, real, Check::Strict), whatsapps.contains(url), "{url}");
        assert_eq!(reached(url, simulator, Check::Skipped), simulators.contains(url), "{url}");
        assert!(!reached(url, simulator, Check::Strict), "{url}");
        assert!(!reached(url, real, Check::Skipped), "{url}");
    }
    let nothing = Clients::new(real, Check::Skipped, SHORT).on(&Route::Direct);
    nothing.execute(HttpRequest::get(whatsapps[0])).await.unwrap_err();
}
