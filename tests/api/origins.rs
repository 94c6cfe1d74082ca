use reqwest::Response;

use crate::support::{Server, Setup, header, problem};

const CONNECT: &str = "/api/whatsapp/connect";

async fn start() -> Server {
    let mut setup = Setup::default();
    setup.http.public_url = Some("https://wa.example.com".into());
    setup.http.allowed_origins = vec!["https://app.example.com".into(), "http://localhost:3000".into()];
    setup.start().await
}

async fn with_cookie(server: &Server, headers: &[(&'static str, &str)]) -> Response {
    let request = server.post(CONNECT).header("cookie", format!("fibidy_auth={}", server.token("toko")));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

#[tokio::test]
async fn command_with_a_cookie_needs_an_allowed_origin() {
    let server = start().await;
    let own = server.url.clone();
    for good in [
        ("origin", "https://wa.example.com"),
        ("origin", "https://app.example.com"),
        ("origin", "http://localhost:3000"),
        ("origin", own.as_str()),
        ("sec-fetch-site", "same-origin"),
    ] {
        assert_eq!(with_cookie(&server, &[good]).await.status(), 202, "{good:?}");
    }
    for bad in [
        "https://evil.example",
        "http://wa.example.com",
        "https://wa.example.com.evil.example",
        "https://wa.example.com:8443",
        "https://WA.example.com",
        "http://localhost",
        "https://evil.example/https://wa.example.com",
    ] {
        let detail = problem(with_cookie(&server, &[("origin", bad)]).await, 403, "origin-not-allowed").await;
        assert!(detail.contains(bad) && detail.contains("TAUTAN_ALLOWED_ORIGINS"), "{detail}");
    }
    let detail = problem(with_cookie(&server, &[]).await, 403, "origin-missing").await;
    assert!(detail.contains("Bearer"));
}

/// A setting that follows the advice must not make the service refuse its start.
#[tokio::test]
async fn refusal_names_the_setting_only_if_it_helps() {
    let server = start().await;
    for (headers, received) in [
        (&[("origin", "null")][..], "Origin: null"),
        (&[("origin", "null"), ("sec-fetch-site", "same-origin")], "Origin: null"),
        (&[("sec-fetch-site", "cross-site")], "Sec-Fetch-Site: cross-site"),
        (&[("sec-fetch-site", "same-site")], "Sec-Fetch-Site: same-site"),
        (&[("sec-fetch-site", "none")], "Sec-Fetch-Site: none"),
        (&[("origin", "chrome-extension://abc")], "chrome-extension://abc"),
        (&[("origin", "127.0.0.1")], "127.0.0.1"),
    ] {
        let detail = problem(with_cookie(&server, headers).await, 403, "origin-not-allowed").await;
        assert!(detail.contains(received) && !detail.contains("TAUTAN_ALLOWED_ORIGINS"), "{detail}");
    }
}

#[tokio::test]
async fn bearer_and_reading_need_no_origin() {
    let server = start().await;
    let foreign = server.post(CONNECT).bearer_auth(server.token("toko")).header("origin", "https://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 202);
    let reading = server.get("/api/whatsapp/status").header("cookie", format!("fibidy_auth={}", server.token("toko")));
    assert_eq!(reading.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn allowed_origin_may_read_answers_and_refusals() {
    let server = start().await;
    for (token, path, status) in [
        (true, "/api/whatsapp/status", 200),
        (false, "/api/whatsapp/status", 401),
        (true, "/api/whatsapp/qr", 404),
        (true, "/api/nothing", 404),
        (true, "/api/whatsapp/connect", 405),
    ] {
        for (origin, allowed) in [("https://app.example.com", true), ("https://evil.example", false), ("null", false)] {
            let mut request = server.get(path).header("origin", origin);
            if token {
                request = request.bearer_auth(server.token("toko"));
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status);
            let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
            assert!(vary.iter().any(|vary| *vary == "Origin"), "{path}: {vary:?}");
            assert_eq!(header(&answer, "access-control-allow-origin"), if allowed { origin } else { "" });
            assert_eq!(header(&answer, "access-control-allow-credentials"), if allowed { "true" } else { "" });
            assert_eq!(
                header(&answer, "access-control-expose-headers"),
                if allowed { "retry-after, x-request-id" } else { "" }
            );
        }
    }
}

#[tokio::test]
async fn preflight_needs_no_token() {
    let server = start().await;
    for (path, methods) in [
        ("/api/whatsapp/connect", "POST"),
        ("/api/whatsapp/disconnect", "POST, DELETE"),
        ("/api/whatsapp/events", "GET, HEAD"),
    ] {
        let ask = |origin: &'static str| {
            let request = server.request("OPTIONS", path).header("origin", origin);
            request.header("access-control-request-method", "POST").send()
        };
        let answer = ask("https://app.example.com").await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(header(&answer, "access-control-allow-origin"), "https://app.example.com");
        assert_eq!(header(&answer, "access-control-allow-credentials"), "true");
        assert_eq!(header(&answer, "access-control-allow-methods"), methods);
        let names = "authorization, content-type, last-event-id, cache-control, if-tenant, x-request-id, traceparent";
        assert_eq!(header(&answer, "access-control-allow-headers"), names);
        assert_eq!(header(&answer, "access-control-max-age"), "600");
        assert_eq!(header(&answer, "vary"), "Origin");

        let answer = ask("https://evil.example").await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(header(&answer, "access-control-allow-origin"), "");
        assert_eq!(header(&answer, "access-control-allow-methods"), "");
        assert_eq!(header(&answer, "vary"), "Origin");
    }
}
