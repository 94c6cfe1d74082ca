//! What a proxy is sent, byte by byte. The tests of `tests/process` use Debian's proxies.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use super::*;

const HOST: &str = "web.whatsapp.com";

/// A proxy that sends these answers in turn, each after it was sent something. Its port, and all that it was sent.
pub async fn proxy(answers: &'static [&'static [u8]]) -> (u16, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = TaskTracker::new().spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for answer in answers {
            let mut bytes = vec![0; 1024];
            let read = socket.read(&mut bytes).await.unwrap();
            bytes.truncate(read);
            seen.push(bytes);
            socket.write_all(answer).await.unwrap();
        }
        seen
    });
    (port, seen)
}

async fn asked(url: impl Fn(u16) -> String, answers: &'static [&'static [u8]]) -> (anyhow::Result<()>, Vec<Vec<u8>>) {
    let (port, seen) = proxy(answers).await;
    let route = Route::Through(ProxyUrl::parse(&url(port)).unwrap());
    let dialled = dial(&route, HOST, 443).await;
    (dialled.map(drop), seen.await.unwrap())
}

#[tokio::test]
async fn http_proxy_is_given_the_name_and_the_password() {
    let url = |port| format!("http://toko:p%40ss@127.0.0.1:{port}");
    let (dialled, seen) = asked(url, &[b"HTTP/1.1 200 Connection established\r\n\r\n"]).await;
    dialled.unwrap();
    let request = String::from_utf8(seen.concat()).unwrap();
    assert!(request.starts_with("CONNECT web.whatsapp.com:443 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode("toko:p@ss"))));
}

#[tokio::test]
async fn socks_proxy_is_given_the_name_and_the_password() {
    for scheme in ["socks5", "socks5h"] {
        let url = |port| format!("{scheme}://toko:p%40ss@127.0.0.1:{port}");
        let (dialled, seen) = asked(url, &[&[5, 2], &[1, 0], &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]]).await;
        dialled.unwrap();
        assert_eq!(seen[0], [5, 1, 2], "no way to go on without the password is offered");
        assert_eq!(seen[1], [&[1, 4][..], b"toko", &[4], b"p@ss"].concat());
        assert_eq!(seen[2], [&[5, 1, 0, 3, HOST.len() as u8][..], HOST.as_bytes(), &443_u16.to_be_bytes()].concat());
    }
}

#[tokio::test]
async fn longest_socks_password_that_is_accepted_is_sent_whole() {
    let password = "x".repeat(156);
    let url = |port| format!("socks5://toko:{password}@127.0.0.1:{port}");
    let (dialled, seen) = asked(url, &[&[5, 2], &[1, 0], &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]]).await;
    dialled.unwrap();
    assert_eq!(seen[1], [&[1, 4][..], b"toko", &[156], password.as_bytes()].concat());
}

#[tokio::test]
async fn refusing_proxy_is_an_error_that_repeats_no_password() {
    const HTTP: [&[&[u8]]; 3] = [
        &[b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"],
        &[b"HTTP/1.1 502 Bad Gateway\r\n\r\n"],
        &[b"hunter2\r\n\r\n"],
    ];
    const SOCKS: [&[&[u8]]; 4] =
        [&[&[5, 255]], &[&[5, 0]], &[&[5, 2], &[1, 1]], &[&[5, 2], &[1, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]]];
    let http = |port: u16| format!("http://toko:hunter2@127.0.0.1:{port}");
    let socks = |port: u16| format!("socks5h://toko:hunter2@127.0.0.1:{port}");
    for answers in HTTP {
        is_refused(asked(http, answers).await.0);
    }
    for answers in SOCKS {
        is_refused(asked(socks, answers).await.0);
    }
}

#[track_caller]
fn is_refused(dialled: anyhow::Result<()>) {
    let error = dialled.unwrap_err();
    assert!(error.is::<ProxyError>());
    assert!(!format!("{error:?} {error:#}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn closed_port_of_a_proxy_is_an_error_of_the_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for scheme in ["http", "socks5"] {
        let proxy = ProxyUrl::parse(&format!("{scheme}://127.0.0.1:{port}")).unwrap();
        is_refused(dial(&Route::Through(proxy), HOST, 443).await.map(drop));
    }
}

#[tokio::test(start_paused = true)]
async fn silent_proxy_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = ProxyUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    is_refused(dial(&Route::Through(proxy), HOST, 443).await.map(drop));
}
