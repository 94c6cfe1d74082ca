use std::net::SocketAddr;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::{in_seconds, token_with, within};

/// A back end with a token for the listener that `TAUTAN_ADMIN_LISTEN` opens.
#[derive(Clone)]
pub struct Admin {
    http: reqwest::Client,
    address: SocketAddr,
    token: String,
}

impl Admin {
    pub fn new(address: SocketAddr) -> Self {
        let token = token_with(json!({ "scope": "whatsapp:admin", "exp": in_seconds(3600) }));
        Self { http: reqwest::Client::new(), address, token }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Without a token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}/admin/{path}", self.address))
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let ask = self.request(Method::POST, path).bearer_auth(&self.token).json(&body);
        within(path, ask.send()).await.expect("an answer")
    }

    /// A request that succeeds: the status and the body of its answer.
    pub async fn does(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.post(path, body).await;
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{status}: {body}");
        (status, serde_json::from_str(&body).expect("a JSON body"))
    }

    /// Returns from when on tokens count again.
    pub async fn end_streams(&self, tenant: &str) -> String {
        let (_, body) = self.does("streams/end", json!({ "tenant": tenant })).await;
        body["notBefore"].as_str().expect("a time").to_owned()
    }
}
