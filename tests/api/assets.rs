use serde_json::json;

use crate::support::{Server, Setup, header, sign};

const PAGE: &str = "/dashboard/settings/whatsapp";

#[tokio::test]
async fn root_redirects_to_the_page() {
    let server = Server::start().await;
    let answer = server.get("/").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "location")), (302, PAGE));
}

#[tokio::test]
async fn page_policy_allows_only_its_own_scripts() {
    let server = Server::start().await;
    let answer = server.get(PAGE).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type"), "text/html; charset=utf-8");
    let policy = header(&answer, "content-security-policy");
    for rule in
        ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'self'"]
    {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'));
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    assert_ne!(header(&answer, "referrer-policy"), "");
    let html = answer.text().await.unwrap();
    assert!(!html.contains("{{"), "every placeholder is filled");
    assert!(!html.contains("<script>") && !html.contains(" style="), "the policy would block it");
}

#[tokio::test]
async fn page_names_the_tenant_only_with_a_token() {
    let mut setup = Setup::default();
    setup.auth.tenant_name_claim = Some("/profile/name".into());
    setup.http.login_url = Some("https://app.example.com/login?next=\"/\"".into());
    let server = setup.start().await;
    let claims =
        json!({"id": "toko", "exp": server.second() + 60, "profile": {"name": "\"><script>alert(1)</script>"}});
    let cookie = format!("fibidy_auth={}", sign(&claims));
    let html = server.get(PAGE).header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("&quot;&gt;&lt;script&gt;alert(1)") && !html.contains("<script>alert"));
    assert!(html.contains("https://app.example.com/login?next=&quot;/&quot;"));
    let html = server.get(PAGE).header("cookie", "fibidy_auth=x").send().await.unwrap().text().await.unwrap();
    assert!(html.contains("tenant-name=\"\""));
}

#[tokio::test]
async fn page_has_the_language_of_the_reader() {
    let server = Server::start().await;
    for (accept, lang) in [("en-US,en;q=0.9", "en"), ("id", "id"), ("fr", "id")] {
        let html = server.get(PAGE).header("accept-language", accept).send().await.unwrap().text().await.unwrap();
        assert!(html.contains(&format!("<html lang=\"{lang}\"")), "{accept}");
    }
}

#[tokio::test]
async fn asset_is_public_and_cached() {
    let server = Server::start().await;
    let answer = server.get("/static/whatsapp-link.js").header("origin", "https://shop.example").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header(&answer, "cache-control"), "no-cache");
    assert_eq!(header(&answer, "access-control-allow-origin"), "*");
    assert_eq!(header(&answer, "cross-origin-resource-policy"), "cross-origin");
    let etag = header(&answer, "etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10);
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".into()] {
        let answer = server.get("/static/whatsapp-link.js").header("if-none-match", known).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (304, etag.as_str()));
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    let answer = server.get("/static/whatsapp-link.js").header("if-none-match", "\"other\"").send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn file_is_sent_in_the_smallest_form_that_the_client_names() {
    let server = Server::start().await;
    let ask = || server.get("/static/whatsapp-link.js");
    let packed = ask().header("accept-encoding", "gzip, deflate").send().await.unwrap();
    assert_eq!((header(&packed, "content-encoding"), header(&packed, "vary")), ("gzip", "Accept-Encoding"));
    let tag = header(&packed, "etag").to_owned();
    let packed = packed.bytes().await.unwrap();
    assert_eq!(packed[..2], [0x1f, 0x8b]);

    let plain = ask().send().await.unwrap();
    assert_eq!((header(&plain, "content-encoding"), header(&plain, "vary")), ("", "Accept-Encoding"));
    assert_ne!(header(&plain, "etag"), tag, "a cache must not answer one for the other");
    let smallest = ask().header("accept-encoding", "gzip, deflate, br, zstd").send().await.unwrap();
    assert_eq!(header(&smallest, "content-encoding"), "br");
    assert_ne!(header(&smallest, "etag"), tag);
    let smallest = smallest.bytes().await.unwrap();
    let mut unpacked = Vec::new();
    brotli::BrotliDecompress(&mut &smallest[..], &mut unpacked).unwrap();

    let plain = plain.text().await.unwrap();
    assert!(unpacked == plain.as_bytes() && smallest.len() < packed.len());
    assert!(plain.contains("customElements.define('whatsapp-link'") && !plain.contains("\nimport "));
    assert!(plain.len() > 2 * packed.len());
}
