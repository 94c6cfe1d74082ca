use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{SECRET, Server, Setup, header, problem, sign, sign_with};

const STATUS: &str = "/api/whatsapp/status";

async fn refused(server: &Server, token: &str, code: &str) {
    problem(server.get(STATUS).bearer_auth(token).send().await.unwrap(), 401, code).await;
}

async fn accepted(server: &Server, claims: &Value) {
    let answer = server.get(STATUS).bearer_auth(sign(claims)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{claims}");
}

#[tokio::test]
async fn every_address_of_the_api_asks_for_a_token() {
    let server = Server::start().await;
    for (method, path) in
        [("POST", "connect"), ("POST", "disconnect"), ("GET", "status"), ("GET", "qr"), ("GET", "events")]
    {
        let answer = server.request(method, &format!("/api/whatsapp/{path}")).send().await.unwrap();
        problem(answer, 401, "missing-token").await;
    }
}

/// A browser sends the cookies of a whole domain in one line, and scripts of other sites may set any of them.
#[tokio::test]
async fn foreign_cookie_of_any_bytes_does_not_hide_the_token() {
    let server = Server::start().await;
    let token = server.token("toko");
    for other in ["nama=Tōko Sari".as_bytes(), b"nama=\xff\xfe", b"=; ;;", b"fibidy_auth2=x"] {
        let line = [other, b"; fibidy_auth=", token.as_bytes(), b"; zona=a"].concat();
        let answer = server.get(STATUS).header("cookie", line).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{other:?}");
    }
}

#[tokio::test]
async fn token_is_valid_from_nbf_to_exp_with_30_s_of_leeway() {
    let server = Server::start().await;
    let now = server.second();
    accepted(&server, &json!({"id": "toko", "exp": now - 25})).await;
    refused(&server, &sign(&json!({"id": "toko", "exp": now - 31})), "expired-token").await;
    accepted(&server, &json!({"id": "toko", "exp": now + 60, "nbf": now + 25})).await;
    refused(&server, &sign(&json!({"id": "toko", "exp": now + 600, "nbf": now + 60})), "token-not-yet-valid").await;
    accepted(&server, &json!({"id": "toko", "exp": now as f64 + 0.5})).await;
}

#[tokio::test]
async fn token_without_expiry_is_refused() {
    let server = Server::start().await;
    for claims in
        [json!({"id": "toko"}), json!({"id": "toko", "exp": null}), json!({"id": "toko", "exp": "2999-01-01"})]
    {
        refused(&server, &sign(&claims), "token-without-expiry").await;
    }
}

#[tokio::test]
async fn token_of_another_secret_is_refused() {
    let server = Server::start().await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    let key = EncodingKey::from_secret(b"another-secret-another-secret-another");
    refused(&server, &sign_with(Algorithm::HS256, &key, &claims), "wrong-signature").await;
    let mut cut = sign(&claims);
    cut.truncate(cut.rfind('.').unwrap() + 1);
    refused(&server, &cut, "wrong-signature").await;
}

#[tokio::test]
async fn hardening_alg_none_is_refused_in_every_writing() {
    let server = Server::start().await;
    let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"id": "toko", "exp": server.second() + 60}).to_string());
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let head = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": none, "typ": "JWT"}).to_string());
        refused(&server, &format!("{head}.{claims}."), "wrong-algorithm").await;
        refused(&server, &format!("{head}.{claims}.AAAA"), "wrong-algorithm").await;
    }
}

#[tokio::test]
async fn token_signed_with_hs384_or_hs512_counts() {
    let server = Server::start().await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let sign = |secret: &[u8]| sign_with(algorithm, &EncodingKey::from_secret(secret), &claims);
        let answer = server.get(STATUS).bearer_auth(sign(SECRET.as_bytes())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{algorithm:?}");
        refused(&server, &sign(b"another-secret-another-secret-another"), "wrong-signature").await;
    }
}

/// A token is verified only with the algorithm of its key, whatever algorithm its header names.
#[tokio::test]
async fn hardening_signature_of_another_hmac_than_named_is_refused() {
    let server = Server::start().await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    let token = |algorithm| sign_with(algorithm, &EncodingKey::from_secret(SECRET.as_bytes()), &claims);
    for (said, made) in [
        (Algorithm::HS256, Algorithm::HS512),
        (Algorithm::HS512, Algorithm::HS256),
        (Algorithm::HS384, Algorithm::HS512),
    ] {
        let (said, made) = (token(said), token(made));
        let mixed = format!("{}.{}", said.rsplit_once('.').unwrap().0, made.rsplit_once('.').unwrap().1);
        refused(&server, &mixed, "wrong-signature").await;
    }
}

#[tokio::test]
async fn hardening_an_extension_that_must_be_understood_is_refused() {
    let server = Server::start().await;
    let mut head = jsonwebtoken::Header::new(Algorithm::HS256);
    head.crit = Some(vec!["exp".into()]);
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    let token = jsonwebtoken::encode(&head, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    refused(&server, &token, "malformed-token").await;
}

#[tokio::test]
async fn value_that_is_no_token_is_refused() {
    let server = Server::start().await;
    for junk in ["x", "a.b", "a.b.c", "....", "e30.e30.e30", "\u{7f}"] {
        let answer = server.get(STATUS).header("authorization", format!("Bearer {junk}").as_bytes()).send().await;
        let Ok(answer) = answer else { continue };
        problem(answer, 401, "malformed-token").await;
    }
    let authorized = |value: &[u8]| server.get(STATUS).header("authorization", value).send();
    for none in [&b"Bearer"[..], b"bearer ", b"Bearer \xff", b"BEARER\tx"] {
        problem(authorized(none).await.unwrap(), 401, "malformed-token").await;
    }
    for other in [&b"Basic dG9rbzp4"[..], b"Token abc", b"Bearerish x", b"\xff x", b""] {
        problem(authorized(other).await.unwrap(), 401, "missing-token").await;
    }
}

#[tokio::test]
async fn tenant_is_any_subject_of_an_identity_provider() {
    let server = Server::start().await;
    let exp = server.second() + 60;
    accepted(&server, &json!({"id": 42, "exp": exp})).await;
    for good in
        ["org:a.b_c@d-1", "auth0|5f7c8ec7c33c6c004bbafe82", "gid://shopify/Shop/1", "a+b@x.com", "/", "}", "{}", "*"]
    {
        accepted(&server, &json!({"id": good, "exp": exp})).await;
    }
    for encoded in ["%2F", "..", &"x".repeat(255)] {
        accepted(&server, &json!({"id": encoded, "exp": exp})).await;
    }
    for bad in [
        json!("a b"),
        json!("x".repeat(10_000)),
        json!("x".repeat(256)),
        json!(""),
        json!("tök"),
        json!("a\u{0}"),
        json!(null),
        json!(["a"]),
    ] {
        refused(&server, &sign(&json!({"id": bad, "exp": exp})), "bad-tenant").await;
    }
    refused(&server, &sign(&json!({"sub": "toko", "exp": exp})), "bad-tenant").await;
}

#[tokio::test]
async fn audience_and_issuer_are_checked_only_if_configured() {
    let server = Server::start().await;
    let exp = server.second() + 60;
    accepted(&server, &json!({"id": "toko", "exp": exp, "aud": "somebody", "iss": "anybody"})).await;

    let mut setup = Setup::default();
    (setup.auth.issuer, setup.auth.audience) = (Some("us".into()), Some("tautan".into()));
    let server = setup.start().await;
    accepted(&server, &json!({"id": "toko", "exp": exp, "aud": ["x", "tautan"], "iss": "us"})).await;
    refused(&server, &sign(&json!({"id": "toko", "exp": exp, "aud": "tautan"})), "wrong-issuer").await;
    refused(&server, &sign(&json!({"id": "toko", "exp": exp, "iss": "us"})), "wrong-audience").await;
    refused(&server, &sign(&json!({"id": "toko", "exp": exp, "iss": "us", "aud": ["x"]})), "wrong-audience").await;
}

#[tokio::test]
async fn cookie_is_accepted_for_reading() {
    let server = Server::start().await;
    let cookie = format!("other=1; fibidy_auth={}; more=2", server.token("toko"));
    let answer = server.get(STATUS).header("cookie", cookie).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer =
        server.get(STATUS).header("cookie", format!("fibidy_authx={}", server.token("toko"))).send().await.unwrap();
    problem(answer, 401, "missing-token").await;
}

#[tokio::test]
async fn bad_bearer_never_falls_back_to_a_good_cookie() {
    let server = Server::start().await;
    let cookie = format!("fibidy_auth={}", server.token("toko"));
    for bad in [&["Bearer x"][..], &["bearer"], &["Basic dG9rbzp4", "Bearer x"]] {
        let request = server.get(STATUS).header("cookie", &cookie);
        let answer = bad.iter().fold(request, |request, value| request.header("authorization", *value)).send().await;
        problem(answer.unwrap(), 401, "malformed-token").await;
    }
}

#[tokio::test]
async fn hardening_a_second_bearer_token_is_noticed() {
    let server = Server::start().await;
    let (mine, theirs) = (server.token("toko"), server.token("attacker"));
    let with = |tokens: [&str; 2]| {
        let header = |request: RequestBuilder, token| request.header("authorization", format!("Bearer {token}"));
        tokens.into_iter().fold(server.get(STATUS), header).send()
    };
    for tokens in [[mine.as_str(), &theirs], [&theirs, &mine], [&mine, "junk"]] {
        problem(with(tokens).await.unwrap(), 401, "ambiguous-token").await;
    }
    assert_eq!(with([&mine, &mine]).await.unwrap().status(), 200);
}

/// A staging site behind HTTP Basic: its browsers send that password with every request beside the cookie with the
/// token.
#[tokio::test]
async fn cookie_beside_another_scheme_still_needs_an_origin() {
    let server = Server::start().await;
    let cookie = format!("fibidy_auth={}", server.token("toko"));
    let with = |request: RequestBuilder, scheme: &str| {
        request.header("authorization", scheme.to_owned()).header("cookie", &cookie).send()
    };
    for scheme in ["Basic dG9rbzp4", "Digest username=\"toko\"", ""] {
        assert_eq!(with(server.get(STATUS), scheme).await.unwrap().status(), 200, "{scheme}");
        let command = server.post("/api/whatsapp/connect");
        problem(with(command, scheme).await.unwrap(), 403, "origin-missing").await;
    }
}

#[tokio::test]
async fn hardening_a_planted_second_cookie_is_noticed() {
    let server = Server::start().await;
    let (mine, theirs) = (server.token("toko"), server.token("attacker"));
    let with = |cookie: String| server.get(STATUS).header("cookie", cookie).send();
    let answer = with(format!("fibidy_auth={mine}; fibidy_auth={theirs}")).await.unwrap();
    problem(answer, 401, "ambiguous-token").await;
    let forged = format!("{theirs}A");
    assert_eq!(
        with(format!("fibidy_auth={forged}; fibidy_auth={mine}; fibidy_auth=junk")).await.unwrap().status(),
        200
    );
    assert_eq!(with(format!("fibidy_auth={mine}; fibidy_auth={mine}")).await.unwrap().status(), 200);
}

/// The page of a user whose token has just expired went over to the attacker's tenant, and the user linked the phone to it.
#[tokio::test]
async fn hardening_a_planted_cookie_takes_over_no_ended_sign_in() {
    let server = Server::start().await;
    let theirs = server.token("attacker");
    let expired = |id: &str| sign(&json!({"id": id, "exp": server.second() - 100}));
    let with = |tokens: [&str; 2]| {
        let cookies = tokens.map(|token| format!("fibidy_auth={token}")).join("; ");
        server.get(STATUS).header("cookie", cookies).send()
    };
    for cookies in [[expired("toko").as_str(), &theirs], [&theirs, &expired("toko")]] {
        problem(with(cookies).await.unwrap(), 401, "ambiguous-token").await;
    }
    let renewed = server.token("toko");
    assert_eq!(with([&expired("toko"), &renewed]).await.unwrap().status(), 200, "the same tenant");
    problem(with([&expired("toko"), &expired("attacker")]).await.unwrap(), 401, "expired-token").await;
}

#[tokio::test]
async fn hardening_a_token_in_the_address_does_not_count() {
    let server = Server::start().await;
    let token = server.token("toko");
    for name in ["token", "access_token", "fibidy_auth"] {
        let answer = server.get(&format!("{STATUS}?{name}={token}")).send().await.unwrap();
        problem(answer, 401, "missing-token").await;
    }
}

#[tokio::test]
async fn refusal_shows_nothing_of_the_token() {
    let server = Server::start().await;
    let token = sign(&json!({"id": "a b", "exp": server.second() + 60, "note": "hush"}));
    let answer = server.get(STATUS).bearer_auth(&token).send().await.unwrap();
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let text = answer.text().await.unwrap();
    assert!(!text.contains("hush") && !text.contains(&token[..20]));
}
