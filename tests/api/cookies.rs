//! The forms of a token in its cookie, and the refusals of a cookie that cannot be read.

use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::Response;
use serde_json::json;
use tautan::auth::{KeySource, Secret, Settings};

use crate::support::{SECRET, Server, Setup, problem, sign, sign_with};

const STATUS: &str = "/api/whatsapp/status";

async fn with(server: &Server, cookie: &str) -> Response {
    server.get(STATUS).header("cookie", cookie).send().await.unwrap()
}

#[tokio::test]
async fn cookie_token_is_read_in_quotes_and_after_bearer() {
    let server = Server::start().await;
    let token = server.token("toko");
    for (before, after) in [
        ("\"", "\""),
        ("%22", "%22"),
        ("Bearer%20", ""),
        ("bearer%20", ""),
        ("Bearer+", ""),
        ("Bearer ", ""),
        ("\"Bearer ", "\""),
        ("\"Bearer%20", "\""),
        ("%22Bearer%20", "%22"),
    ] {
        for more in ["", "; other=2"] {
            let answer = with(&server, &format!("other=1; fibidy_auth={before}{token}{after}{more}")).await;
            assert_eq!(answer.status(), 200, "{before}…{after}{more}");
        }
    }
    for (before, after) in
        [("\"", ""), ("", "\""), ("Bearer", ""), ("Basic%20", ""), ("Bearer%20Bearer%20", ""), ("'", "'")]
    {
        problem(with(&server, &format!("fibidy_auth={before}{token}{after}")).await, 401, "malformed-token").await;
    }
    for empty in ["\"\"", "", "Bearer%20", "%22%22"] {
        problem(with(&server, &format!("fibidy_auth={empty}")).await, 401, "missing-token").await;
    }
}

#[tokio::test]
async fn hardening_a_planted_cookie_in_quotes_is_noticed() {
    let server = Server::start().await;
    let (mine, theirs) = (server.token("toko"), server.token("attacker"));
    for cookie in [
        format!("fibidy_auth={mine}; fibidy_auth=\"{theirs}\""),
        format!("fibidy_auth=Bearer%20{theirs}; fibidy_auth={mine}"),
    ] {
        problem(with(&server, &cookie).await, 401, "ambiguous-token").await;
    }
    let request = server.post("/api/whatsapp/connect").header("cookie", format!("fibidy_auth=\"{mine}\""));
    problem(request.send().await.unwrap(), 403, "origin-missing").await;
}

/// A sibling subdomain may set many cookies, and the browser may send them first.
#[tokio::test]
async fn hardening_more_cookies_than_the_maximum_are_refused() {
    let server = Server::start().await;
    let (mine, theirs) = (server.token("toko"), server.token("attacker"));
    let named = |tokens: &[&str]| tokens.iter().map(|token| format!("fibidy_auth={token}")).collect::<Vec<_>>();
    for planted in [[theirs.as_str(); 8], ["junk"; 8], [""; 8]] {
        let first = [&planted[..], &[mine.as_str()]].concat();
        let last = [&[mine.as_str()], &planted[..]].concat();
        for cookies in [named(&first), named(&last)] {
            let detail = problem(with(&server, &cookies.join("; ")).await, 401, "ambiguous-token").await;
            assert!(detail.contains("9 cookies") && detail.contains("fibidy_auth"), "{detail}");
            let lines = cookies.iter().fold(server.get(STATUS), |request, cookie| request.header("cookie", cookie));
            problem(lines.send().await.unwrap(), 401, "ambiguous-token").await;
        }
    }
    assert_eq!(with(&server, &named(&[mine.as_str(); 8]).join("; ")).await.status(), 200);
    let others: Vec<_> = (0..40).map(|number| format!("other{number}=x")).chain(named(&[mine.as_str()])).collect();
    assert_eq!(with(&server, &others.join("; ")).await.status(), 200);
}

/// The one that cannot be checked may be the user's own.
#[tokio::test]
async fn hardening_a_cookie_that_cannot_be_checked_is_not_skipped() {
    let away = KeySource::Jwks("http://127.0.0.1:1/jwks.json".into());
    let keys = vec![KeySource::Secret(Secret::new(SECRET)), away];
    let server = Setup { auth: Settings { keys, ..Settings::default() }, ..Setup::default() }.start().await;
    let theirs = server.token("attacker");
    let key = EncodingKey::from_ed_pem(include_bytes!("keys/ed25519.pem")).unwrap();
    let mine = sign_with(Algorithm::EdDSA, &key, &json!({"id": "toko", "exp": server.second() + 60}));
    for cookie in
        [format!("fibidy_auth={theirs}; fibidy_auth={mine}"), format!("fibidy_auth={mine}; fibidy_auth={theirs}")]
    {
        problem(with(&server, &cookie).await, 503, "keys-unavailable").await;
    }
}

#[tokio::test]
async fn refusal_names_the_kind_of_value_sent_instead_of_a_token() {
    let server = Server::start().await;
    let part = |text: &str| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text);
    let (jwe, no_algorithm, critical) = (
        format!("{}.hunter2.hunter2.hunter2.hunter2", part(r#"{"alg":"dir","enc":"A256GCM"}"#)),
        format!("{}.hunter2.hunter2", part(r#"{"typ":"JWT"}"#)),
        format!("{}.hunter2.hunter2", part(r#"{"alg":"HS256","crit":["b64"]}"#)),
    );
    for (value, received) in [
        (jwe.as_str(), "encrypted"),
        ("s%3Ahunter2.hunter2", "Express"),
        ("j%3A%7B%22hunter2%22%3A1%7D", "JSON"),
        ("hunter2hunter2hunter2", "21 characters"),
        ("hunter2.hunter2", "2 parts"),
        ("hunter2.hunter2.hunter2", "first part"),
        (&no_algorithm, "alg"),
        (&critical, "crit"),
        ("undefined", "undefined"),
        ("Bearer%20Bearer%20hunter2.a.b", "Bearer"),
        ("\"hunter2.a.b", "quote"),
    ] {
        let detail = problem(with(&server, &format!("fibidy_auth={value}")).await, 401, "malformed-token").await;
        assert!(detail.contains("fibidy_auth") && detail.contains(received), "{value}: {detail}");
        assert!(!detail.contains("hunter2"), "{detail}");
        let bearer = server.get(STATUS).header("authorization", format!("Bearer {value}")).send().await.unwrap();
        let detail = problem(bearer, 401, "malformed-token").await;
        assert!(detail.contains("Authorization") && !detail.contains("hunter2"), "{detail}");
    }
}

#[tokio::test]
async fn refusal_without_a_token_names_what_was_sent_instead() {
    let server = Server::start().await;
    let detail = async |headers: &[(&'static str, &str)]| {
        let request = server.get(STATUS);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        problem(request.send().await.unwrap(), 401, "missing-token").await
    };
    let nothing = detail(&[]).await;
    assert!(nothing.contains("Authorization: Bearer") && nothing.contains("fibidy_auth"), "{nothing}");
    let others = detail(&[("cookie", "hunter2=hunter3; b=2")]).await;
    assert!(others.contains("2 other cookies") && !others.contains("hunter"), "{others}");
    let scheme = detail(&[("authorization", "Basic hunter2")]).await;
    assert!(scheme.contains("word Bearer") && !scheme.contains("hunter"), "{scheme}");
    let no_scheme = detail(&[("authorization", "hunter2.hunter2.hunter2")]).await;
    assert!(no_scheme.contains("word Bearer") && !no_scheme.contains("hunter"), "{no_scheme}");
    let empty = detail(&[("cookie", "fibidy_auth=")]).await;
    assert!(empty.contains("empty"), "{empty}");
}

/// The page is public: it must not show the contents of a token without a valid one.
#[tokio::test]
async fn refusal_for_a_claim_shows_no_claim_values() {
    let mut setup = crate::support::Setup::default();
    setup.auth.issuer = Some("https://login.example/".into());
    let server = setup.start().await;
    let token = sign(&json!({"id": "toko", "exp": server.second() + 60, "iss": "https://login.example"}));
    let detail = problem(server.get(STATUS).bearer_auth(token).send().await.unwrap(), 401, "wrong-issuer").await;
    assert!(!detail.contains("login.example"), "{detail}");
}
