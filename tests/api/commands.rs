use serde_json::{Value, json};
use tautan::{
    events::{Account, PhoneNumber, Platform, Status},
    http::{Limits, Settings},
    store::DesiredState,
    tenant::TenantId,
};

use crate::support::{Server, Setup, header, problem};

const CONNECT: &str = "/api/whatsapp/connect";

fn reference(tenant: &str) -> String {
    TenantId::parse(tenant).unwrap().reference().to_string()
}

/// The page shows one tenant, and the cookie of its browser belongs to another one now: a button pressed there must
/// not change a tenant that the page does not show.
#[tokio::test]
async fn command_for_another_tenant_than_the_token_does_nothing() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.connected("6281234567890", None).await;
    for path in [CONNECT, "/api/whatsapp/disconnect", "/api/whatsapp/passkey"] {
        for wrong in [reference("warung"), reference("toko").to_uppercase(), String::new()] {
            let ask = server.post(path).bearer_auth(server.token("toko")).header("if-tenant", &wrong);
            problem(ask.send().await.unwrap(), 409, "tenant-changed").await;
        }
        let both = server.post(path).bearer_auth(server.token("toko")).header("if-tenant", reference("toko"));
        let both = both.header("if-tenant", reference("warung"));
        problem(both.send().await.unwrap(), 409, "tenant-changed").await;
    }
    let status = server.get("/api/whatsapp/status").bearer_auth(server.token("toko")).send().await.unwrap();
    assert_eq!(status.json::<Value>().await.unwrap()["status"], "connected");

    let right = server.post(CONNECT).bearer_auth(server.token("toko")).header("if-tenant", reference("toko"));
    assert_eq!(right.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn connecting_answers_that_it_has_begun() {
    let server = Server::start().await;
    for _ in 0..2 {
        let answer = server.post(CONNECT).bearer_auth(server.token("toko")).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        assert_eq!(header(&answer, "cache-control"), "no-store");
        let body: Value = answer.json().await.unwrap();
        assert_eq!((&body["status"], &body["reason"]), (&json!("connecting"), &json!("starting")));
    }
}

#[tokio::test]
async fn status_has_every_field_of_the_contract() {
    let server = Server::start().await;
    let status = async || -> Value {
        server.get("/api/whatsapp/status").bearer_auth(server.token("toko")).send().await.unwrap().json().await.unwrap()
    };
    let never = json!({"status": "disconnected", "phoneNumber": null, "name": null, "reason": "never-linked",
        "retryable": true, "until": null, "since": null, "stale": false, "pairing": null, "tenantRef": reference("toko")});
    assert_eq!(status().await, never);

    let owner = server.own("toko").await;
    owner.connected("6281234567890", Some("Toko Sari")).await;
    let mut body = status().await;
    let since = body["since"].take();
    assert!(
        since.as_str().is_some_and(|since| since.ends_with('Z') && since.len() == "2026-01-28T10:00:00.123Z".len()),
        "{since}"
    );
    let connected = json!({"status": "connected", "phoneNumber": "6281234567890", "name": "Toko Sari", "reason": null,
        "retryable": false, "until": null, "since": null, "stale": false, "pairing": null, "tenantRef": reference("toko")});
    assert_eq!(body, connected);
    let phone = PhoneNumber::parse("6281234567890").unwrap();
    let platform = Some(Platform::parse("android").unwrap());
    owner.publish(Status::Connected { account: Account { phone, name: None, platform } }).await;
    assert_eq!(status().await["platform"], "android");
    let again = server.post(CONNECT).bearer_auth(server.token("toko")).send().await.unwrap();
    assert_eq!(again.status(), 200, "what is connected already is done");
}

#[tokio::test]
async fn disconnecting_what_never_was_is_done_at_once() {
    let server = Server::start().await;
    let answer = server.post("/api/whatsapp/disconnect").bearer_auth(server.token("toko")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "never-linked");
}

#[tokio::test]
async fn request_body_is_json_or_empty() {
    let server = Server::start().await;
    let send = |kind: &str, body: &str| {
        let request = server.post(CONNECT).bearer_auth(server.token("toko")).body(body.to_owned());
        if kind.is_empty() { request.send() } else { request.header("content-type", kind).send() }
    };
    for good in ["{}", "{\"phoneNumber\":null}", "{\"phoneNumber\":\"6281234567890\",\"other\":[1]}"] {
        assert_eq!(send("application/json", good).await.unwrap().status(), 202, "{good}");
    }
    assert_eq!(send("Application/JSON; charset=utf-8", "{}").await.unwrap().status(), 202);
    assert_eq!(send("text/plain", "").await.unwrap().status(), 202);
    for bad in ["{", "[]", "\"628\"", "0", "false", "nul", "null null", "{\"a\":1}x", "\u{0}"] {
        problem(send("application/json", bad).await.unwrap(), 400, "bad-json").await;
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", ""] {
        problem(send(kind, "{}").await.unwrap(), 415, "unsupported-media-type").await;
    }
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(16 * 1024));
    problem(send("application/json", &large).await.unwrap(), 413, "body-too-large").await;
}

#[tokio::test]
async fn empty_or_null_body_counts_as_a_body_without_fields() {
    let limits = Limits { command_burst: 100, ..Limits::default() };
    let http = Settings { limits, ..Settings::default() };
    let server = Setup { http, ..Setup::default() }.start().await;
    // The status of a command whose body has no fields; WhatsApp asks for no passkey, and an answer needs a field.
    for (method, command, none) in
        [("POST", "connect", 202), ("POST", "disconnect", 202), ("DELETE", "disconnect", 202), ("POST", "passkey", 400)]
    {
        let path = format!("/api/whatsapp/{command}");
        let send = |kind: &str, body: &str| {
            let request = server.request(method, &path).bearer_auth(server.token("toko")).body(body.to_owned());
            request.header("content-type", kind.to_owned()).send()
        };
        for (kind, body) in [
            ("application/json", ""),
            ("application/json", "null"),
            ("application/json", " null\r\n"),
            ("application/json", "\n"),
            ("application/json", "{}"),
            ("application/x-www-form-urlencoded", ""),
        ] {
            let answer = send(kind, body).await.unwrap();
            assert_eq!(answer.status(), none, "{method} {command} {kind} {body:?}");
            if none == 400 {
                problem(answer, 400, "bad-passkey").await;
            }
        }
        for bad in ["[]", "0", "\"x\"", "true", "{"] {
            problem(send("application/json", bad).await.unwrap(), 400, "bad-json").await;
        }
        problem(send("text/plain", "null").await.unwrap(), 415, "unsupported-media-type").await;
    }
}

#[tokio::test]
async fn delete_disconnect_does_what_the_post_does() {
    let server = Server::start().await;
    let path = "/api/whatsapp/disconnect";
    problem(server.request("DELETE", path).send().await.unwrap(), 401, "missing-token").await;
    let with_cookie = |origin: Option<&str>| {
        let request = server.request("DELETE", path).header("cookie", format!("fibidy_auth={}", server.token("toko")));
        origin.into_iter().fold(request, |request, origin| request.header("origin", origin)).send()
    };
    problem(with_cookie(None).await.unwrap(), 403, "origin-missing").await;
    problem(with_cookie(Some("https://evil.example")).await.unwrap(), 403, "origin-not-allowed").await;
    let never = with_cookie(Some(&server.url)).await.unwrap();
    assert_eq!(never.status(), 200);
    assert_eq!(never.json::<Value>().await.unwrap()["reason"], "never-linked");

    let owner = server.own("toko").await;
    owner.connected("6281234567890", None).await;
    let answer = server.request("DELETE", path).bearer_auth(server.token("toko")).send().await.unwrap();
    assert_eq!(answer.status(), 202, "the owner has to unlink first");
}

#[tokio::test]
async fn expected_number_is_checked_like_a_number_for_a_code() {
    let server = Server::start().await;
    let connect = async |number: Value| {
        let ask = server.post(CONNECT).bearer_auth(server.token("toko")).json(&json!({"expectedPhoneNumber": number}));
        ask.send().await.unwrap()
    };
    for good in [json!("6281234567890"), json!("+6281234567890"), json!(null)] {
        assert_eq!(connect(good.clone()).await.status(), 202, "{good}");
    }
    for (bad, hint) in [
        (json!("++6281234567890"), "+"),
        (json!("+081234567890"), "country code"),
        (json!("+62 812-3456-7890"), "digits"),
        (json!("62812345"), "too short"),
        (json!("+"), "7 to 15"),
        (json!(6_281_234_567_890_u64), "string"),
    ] {
        let detail = problem(connect(bad.clone()).await, 400, "bad-phone-number").await;
        assert!(detail.contains(hint) && detail.contains("expectedPhoneNumber"), "{bad}: {detail}");
    }
}

/// A mistyped number must not end a link that works.
#[tokio::test]
async fn expecting_another_number_than_the_linked_one_is_refused() {
    let server = Server::start().await;
    let owner = server.own("toko").await;
    owner.connected("6281234567890", None).await;
    let connect = async |number: &str| {
        let ask = server.post(CONNECT).bearer_auth(server.token("toko")).json(&json!({"expectedPhoneNumber": number}));
        ask.send().await.unwrap()
    };
    problem(connect("6281234567891").await, 409, "other-account-linked").await;
    let tenant = TenantId::parse("toko").unwrap();
    let (_, desired) = server.stores.commands.current(&tenant).await.unwrap().unwrap();
    assert_eq!(desired, DesiredState::run(None), "nothing was done");
    assert_eq!(connect("+6281234567890").await.status(), 200);
}

#[tokio::test]
async fn impossible_phone_number_is_refused_with_a_reason() {
    let server = Server::start().await;
    for (bad, hint) in [
        (json!("+6281234567890"), "+"),
        (json!("62 812-3456-7890"), "digits"),
        (json!("081234567890"), "country code"),
        (json!("123"), "7 to 15"),
        (json!("1234567890123456"), "7 to 15"),
        (json!(""), "7 to 15"),
        (json!("6208123456789"), "leave out the 0"),
        (json!("9991234567890"), "no country"),
        (json!("62812345"), "too short"),
        (json!("11111111111"), "area code"),
        (json!(6_281_234_567_890_u64), "string"),
        (json!("٦٢٨١٢٣٤٥٦٧٨٩٠"), "digits"),
    ] {
        let answer = server.post(CONNECT).bearer_auth(server.token("toko")).json(&json!({"phoneNumber": bad})).send();
        let detail = problem(answer.await.unwrap(), 400, "bad-phone-number").await;
        assert!(detail.contains(hint), "{bad}: {detail}");
    }
}
