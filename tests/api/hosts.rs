//! `Host`: the host of a request, and whether its `Origin` is the same host.

use reqwest::Response;

use crate::{
    server::send,
    support::{Server, Setup, header, problem},
};

async fn command(server: &Server, host: &str, origin: &str) -> Response {
    let request =
        server.post("/api/whatsapp/connect").header("cookie", format!("fibidy_auth={}", server.token("toko")));
    request.header("host", host).header("origin", origin).send().await.unwrap()
}

#[tokio::test]
async fn origin_is_allowed_when_it_equals_host() {
    let server = Server::start().await;
    for (host, origin) in [
        ("wa.example.com", "https://wa.example.com"),
        ("wa.example.com:443", "https://wa.example.com"),
        ("WA.Example.COM", "https://wa.example.com"),
        ("Wa.example.com:443", "https://wa.example.com"),
        ("wa.example.com:80", "http://wa.example.com"),
        ("wa.example.com:", "http://wa.example.com"),
        ("wa.example.com", "https://wa.example.com:443"),
        ("wa.example.com", "HTTPS://WA.example.com"),
        ("wa.example.com:8443", "https://wa.example.com:8443"),
        ("[::1]:80", "http://[::1]"),
        ("[FE80::A]:8080", "http://[fe80::a]:8080"),
        // A container's name may hold an underscore.
        ("my_service:8080", "http://my_service:8080"),
    ] {
        let answer = command(&server, host, origin).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (202, origin), "{host}");
    }
    for (host, origin) in [
        ("wa.example.com:8443", "https://wa.example.com"),
        ("wa.example.com", "https://wa.example.com:8443"),
        ("wa.example.com:443", "http://wa.example.com"),
        ("wa.example.com", "https://wa.example.com.evil.example"),
        ("wa.example.com", "https://evil.example"),
        ("wa.example.com", "https://user@wa.example.com"),
        ("wa.example.com", "https://wa.example.com/"),
        ("wa.example.com", "https://evil.example/wa.example.com"),
        ("wa.example.com", "ftp://wa.example.com"),
        ("wa.example.com", "chrome-extension://wa.example.com"),
        ("", "https://"),
    ] {
        let answer = command(&server, host, origin).await;
        assert_eq!(header(&answer, "access-control-allow-origin"), "", "{host:?} {origin}");
        problem(answer, 403, "origin-not-allowed").await;
    }
}

/// The form that browsers send is the one that the setting is compared with.
#[tokio::test]
async fn refusal_of_an_odd_origin_shows_how_browsers_write_it() {
    let mut setup = Setup::default();
    setup.http.public_url = Some("https://wa.example.com".into());
    let server = setup.start().await;
    for written in ["https://WA.example.com", "https://wa.example.com:443", "HTTPS://wa.example.com"] {
        let detail = problem(command(&server, "inside:8080", written).await, 403, "origin-not-allowed").await;
        assert!(detail.contains("https://wa.example.com as browsers do"), "{detail}");
    }
    let detail =
        problem(command(&server, "inside:8080", "https://evil.example").await, 403, "origin-not-allowed").await;
    assert!(!detail.contains("browsers"), "{detail}");
}

#[tokio::test]
async fn hardening_ambiguous_host_is_refused() {
    let server = Server::start().await;
    let ask = |target: &'static str, lines: &'static str| {
        let request = format!("GET {target} HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
        let server = &server;
        async move { send(server, &request).await }
    };
    for lines in [
        "host: x\r\nhost: x\r\n",
        "host: x\r\nHost: evil.example\r\n",
        "host: x, y\r\n",
        "host: x/y\r\n",
        "host: user@x\r\n",
        "host: x:port\r\n",
        "host: x:99999\r\n",
        "host: http://x\r\n",
        "host: \u{e9}\r\n",
        "host: x?y\r\n",
        "host: [::1\r\n",
    ] {
        for target in ["/healthz", "/api/whatsapp/status", "/static/page.js", "/nothing"] {
            let answer = ask(target, lines).await;
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"bad-host\""), "{lines:?}: {answer}");
        }
    }
    for lines in ["host: x\r\n", "host: x:8080\r\n", "host:\r\n", "host: [::1]:8080\r\n", "host: a_b.c-d\r\n", ""] {
        let answer = ask("/healthz", lines).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{lines:?}: {answer}");
    }
}

/// RFC 9112 section 3.2.2: with an absolute target, `Host` does not count.
#[tokio::test]
async fn host_does_not_count_beside_an_absolute_target() {
    let server = Server::start().await;
    let ask = |target: &str| {
        let cookie = format!("cookie: fibidy_auth={}", server.token("toko"));
        let lines = format!("host: wa.example.com\r\norigin: https://wa.example.com\r\n{cookie}\r\ncontent-length: 0");
        format!("POST {target} HTTP/1.1\r\n{lines}\r\nconnection: close\r\n\r\n")
    };
    let same = send(&server, &ask("http://WA.example.com/api/whatsapp/connect")).await;
    assert!(same.starts_with("HTTP/1.1 202 "), "{same}");
    let other = send(&server, &ask("http://other.example/api/whatsapp/connect")).await;
    assert!(other.starts_with("HTTP/1.1 403 "), "{other}");
}
