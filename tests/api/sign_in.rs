use tautan::{
    auth::{KeySource, Minter, Secret, Settings},
    http::LocalSignIn,
    tenant::TenantId,
};

use crate::support::{SECRET, Server, Setup, header, problem};

async fn start() -> Server {
    let keys = vec![KeySource::Secret(Secret::new(SECRET))];
    let minter = Minter::new(&Settings { keys, ..Settings::default() }).unwrap();
    let sign_in = LocalSignIn::new("once-only", minter, TenantId::parse("local").unwrap());
    Setup { sign_in: Some(sign_in), ..Setup::default() }.start().await
}

#[tokio::test]
async fn sign_in_code_works_once() {
    let server = start().await;
    for wrong in ["", "?code=", "?code=wrong", "?cod=once-only", "?xcode=once-only"] {
        let answer = server.get(&format!("/local/sign-in{wrong}")).send().await.unwrap();
        assert_eq!(header(&answer, "set-cookie"), "");
        problem(answer, 403, "sign-in-refused").await;
    }
    let head = server.request("HEAD", "/local/sign-in?code=once-only").send().await.unwrap();
    assert_eq!(head.status(), 405, "a preview must not use the code up");

    let answer = server.get("/local/sign-in?code=once-only").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "location")), (303, "/dashboard/settings/whatsapp"));
    let cookie = header(&answer, "set-cookie").to_owned();
    for part in ["fibidy_auth=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{part}");
    }
    let sent = cookie.split(';').next().unwrap();
    let status = server.get("/api/whatsapp/status").header("cookie", sent).send().await.unwrap();
    assert_eq!(status.status(), 200);

    problem(server.get("/local/sign-in?code=once-only").send().await.unwrap(), 403, "sign-in-refused").await;
}

/// Browsers prefetch a link when it is typed, hovered over or named by a page, and show the answer only if it is
/// opened.
#[tokio::test]
async fn prefetch_does_not_use_up_the_sign_in_code() {
    let server = start().await;
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("sec-purpose", "Prefetch"),
        ("purpose", "prefetch"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
    ] {
        let answer = server.get("/local/sign-in?code=once-only").header(name, value).send().await.unwrap();
        assert_eq!((header(&answer, "set-cookie"), header(&answer, "cache-control")), ("", "no-store"), "{name}");
        let detail = problem(answer, 403, "sign-in-refused").await;
        assert!(detail.contains("ahead") && detail.contains("open"), "{detail}");
    }
    let answer = server.get("/local/sign-in?code=once-only").send().await.unwrap();
    assert_eq!(answer.status(), 303);
}
