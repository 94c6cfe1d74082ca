use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tautan::auth::{KeySource, Secret, Settings, TokenVerifier};

use crate::support::{SECRET, Server, Setup, problem, sign, sign_with};

const STATUS: &str = "/api/whatsapp/status";
const ED25519_X: &str = "mTbalCscyWPOwD1dVN-S7DRIBkflDoyfecVzaY1qlEI";

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(include_bytes!("keys/rsa.pem")).unwrap()
}

fn p256() -> EncodingKey {
    EncodingKey::from_ec_pem(include_bytes!("keys/p256.pem")).unwrap()
}

fn p384() -> EncodingKey {
    EncodingKey::from_ec_pem(include_bytes!("keys/p384.pem")).unwrap()
}

fn ed25519() -> EncodingKey {
    EncodingKey::from_ed_pem(include_bytes!("keys/ed25519.pem")).unwrap()
}

async fn with(keys: Vec<KeySource>) -> Server {
    Setup { auth: Settings { keys, ..Settings::default() }, ..Setup::default() }.start().await
}

async fn code(server: &Server, token: &str) -> String {
    let answer = server.get(STATUS).bearer_auth(token).send().await.unwrap();
    if answer.status() == 200 {
        "ok".into()
    } else {
        answer.json::<serde_json::Value>().await.unwrap()["code"].as_str().unwrap().into()
    }
}

#[tokio::test]
async fn public_key_verifies_only_its_own_algorithm() {
    let pairs = [
        (include_str!("keys/rsa.pub.pem"), Algorithm::RS256, rsa()),
        (include_str!("keys/p256.pub.pem"), Algorithm::ES256, p256()),
        (include_str!("keys/p384.pub.pem"), Algorithm::ES384, p384()),
        (include_str!("keys/ed25519.pub.pem"), Algorithm::EdDSA, ed25519()),
    ];
    for (pem, good, _) in &pairs {
        let server = with(vec![KeySource::PublicKey((*pem).into())]).await;
        let claims = json!({"id": "toko", "exp": server.second() + 60});
        for (_, algorithm, key) in &pairs {
            let expected = if algorithm == good { "ok" } else { "wrong-algorithm" };
            let answer = code(&server, &sign_with(*algorithm, key, &claims)).await;
            assert_eq!(answer, expected, "{algorithm:?} for {good:?}");
        }
        assert_eq!(code(&server, &sign(&claims)).await, "wrong-algorithm");
    }
}

#[tokio::test]
async fn hardening_a_public_key_is_not_the_secret_of_an_hmac() {
    for pem in [
        include_str!("keys/rsa.pub.pem"),
        include_str!("keys/p256.pub.pem"),
        include_str!("keys/p384.pub.pem"),
        include_str!("keys/ed25519.pub.pem"),
    ] {
        let server = with(vec![KeySource::PublicKey(pem.into())]).await;
        let claims = json!({"id": "toko", "exp": server.second() + 60});
        for form in [pem.as_bytes(), pem.trim().as_bytes()] {
            let token = sign_with(Algorithm::HS256, &EncodingKey::from_secret(form), &claims);
            problem(server.get(STATUS).bearer_auth(token).send().await.unwrap(), 401, "wrong-algorithm").await;
        }
    }
}

#[tokio::test]
async fn previous_secret_is_still_accepted() {
    let next = "Vf4n3bS1uJb7cD5mZk9rWf8yLhTgPaEiNwVsQxM7q2X=";
    let server = with([next, SECRET].map(|secret| KeySource::Secret(Secret::new(secret))).to_vec()).await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    assert_eq!(code(&server, &sign(&claims)).await, "ok");
    assert_eq!(
        code(&server, &sign_with(Algorithm::HS256, &EncodingKey::from_secret(next.as_bytes()), &claims)).await,
        "ok"
    );
}

/// A secret checks HMAC signatures alone, and a public key never checks one.
#[tokio::test]
async fn previous_secret_and_key_pair_are_accepted_side_by_side() {
    let pem = include_str!("keys/p256.pub.pem");
    let server = with(vec![KeySource::PublicKey(pem.into()), KeySource::Secret(Secret::new(SECRET))]).await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    let hmac = |secret: &str| EncodingKey::from_secret(secret.as_bytes());
    for (algorithm, key, expected) in [
        (Algorithm::HS256, hmac(SECRET), "ok"),
        (Algorithm::ES256, p256(), "ok"),
        (Algorithm::HS256, hmac(pem), "wrong-signature"),
        (Algorithm::HS256, hmac(pem.trim()), "wrong-signature"),
        (Algorithm::HS384, hmac(SECRET), "ok"),
        (Algorithm::HS512, hmac(pem), "wrong-signature"),
        (Algorithm::RS256, rsa(), "wrong-algorithm"),
    ] {
        assert_eq!(code(&server, &sign_with(algorithm, &key, &claims)).await, expected, "{algorithm:?}");
    }
}

#[tokio::test]
async fn secret_beside_a_key_set_does_not_change_its_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": ED25519_X});
    std::fs::write(&path, json!({"keys": [key]}).to_string()).unwrap();
    for (place, expected) in
        [(path.to_str().unwrap(), "unknown-key"), ("http://127.0.0.1:1/jwks.json", "keys-unavailable")]
    {
        let server = with(vec![KeySource::Jwks(place.into()), KeySource::Secret(Secret::new(SECRET))]).await;
        let claims = json!({"id": "toko", "exp": server.second() + 60});
        let header = Header { kid: Some("two".into()), ..Header::new(Algorithm::EdDSA) };
        let token = jsonwebtoken::encode(&header, &claims, &ed25519()).unwrap();
        assert_eq!(code(&server, &token).await, expected);
        assert_eq!(code(&server, &sign(&claims)).await, "ok");
    }
}

/// The server of the key set may hang. Tokens that do not need the set must not wait for it.
#[tokio::test]
async fn token_of_a_local_key_does_not_wait_for_the_key_set() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/jwks.json", silent.local_addr().unwrap());
    let server = with(vec![KeySource::Jwks(place), KeySource::Secret(Secret::new(SECRET))]).await;
    let token = sign(&json!({"id": "toko", "exp": server.second() + 60}));
    let answer = tokio::time::timeout(Duration::from_secs(2), code(&server, &token)).await;
    assert_eq!(answer.expect("at once"), "ok");
}

#[tokio::test]
async fn key_set_file_chooses_by_kid_and_is_reloaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let set = |kid: &str| {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": ED25519_X});
        let symmetric = json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"});
        json!({"keys": [symmetric, key]}).to_string()
    };
    std::fs::write(&path, set("one")).unwrap();
    let server = with(vec![KeySource::Jwks(path.to_str().unwrap().into())]).await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    let signed = |kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &ed25519()).unwrap()
    };
    assert_eq!(code(&server, &signed(Some("one"))).await, "ok");
    assert_eq!(code(&server, &signed(None)).await, "ok");
    assert_eq!(code(&server, &signed(Some("two"))).await, "unknown-key");
    assert_eq!(code(&server, &signed(Some("secret"))).await, "unknown-key");

    std::fs::write(&path, set("two")).unwrap();
    crate::support::in_time(async {
        while code(&server, &signed(Some("two"))).await != "ok" {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(code(&server, &signed(Some("one"))).await, "unknown-key");
}

#[tokio::test]
async fn unreachable_key_set_is_503_and_not_401() {
    let server = with(vec![KeySource::Jwks("http://127.0.0.1:1/jwks.json".into())]).await;
    let token = sign_with(Algorithm::EdDSA, &ed25519(), &json!({"id": "toko", "exp": server.second() + 60}));
    problem(server.get(STATUS).bearer_auth(token).send().await.unwrap(), 503, "keys-unavailable").await;
}

/// A failed check with a key of the same kind does not decide: other keys are tried.
#[tokio::test]
async fn unknown_token_is_503_while_the_key_set_is_unreachable() {
    let pem = include_str!("keys/p256.pub.pem");
    let away = KeySource::Jwks("http://127.0.0.1:1/jwks.json".into());
    let server = with(vec![KeySource::PublicKey(pem.into()), away]).await;
    let mut token = sign_with(Algorithm::ES256, &p256(), &json!({"id": "toko", "exp": server.second() + 60}));
    assert_eq!(code(&server, &token).await, "ok");
    token.truncate(token.rfind('.').unwrap() + 1);
    assert_eq!(code(&server, &token).await, "keys-unavailable");
}

#[tokio::test]
async fn key_set_is_fetched_from_its_url() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let body = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": ED25519_X}]}).to_string();
    tokio_util::task::TaskTracker::new().spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    });
    let server = with(vec![KeySource::Jwks(url)]).await;
    let claims = json!({"id": "toko", "exp": server.second() + 60});
    for _ in 0..3 {
        assert_eq!(code(&server, &sign_with(Algorithm::EdDSA, &ed25519(), &claims)).await, "ok");
    }
}

#[test]
fn every_mistake_in_the_keys_is_reported_at_once() {
    let keys = vec![
        KeySource::Secret(Secret::new("your-secret-key")),
        KeySource::PublicKey("not a pem".into()),
        KeySource::PublicKey(include_str!("keys/rsa.pem").into()),
        KeySource::Jwks("/does/not/exist.json".into()),
    ];
    let mistakes = TokenVerifier::new(Settings { keys, ..Settings::default() }, tautan::clock::system()).unwrap_err();
    let received: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(received.len(), 4, "{received:?}");
    assert!(received[0].contains("openssl rand -base64 32") && received[2].contains("private"), "{received:?}");
    assert!(TokenVerifier::new(Settings::default(), tautan::clock::system()).is_err());
}
