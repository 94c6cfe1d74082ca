use std::net::IpAddr;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::{EventStream, token, within};

/// One tenant's client.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    pub fn new(base: &str, tenant: &str) -> Self {
        Self::with_token(base, &token(tenant))
    }

    pub fn with_token(base: &str, token: &str) -> Self {
        Self { http: reqwest::Client::new(), base: base.to_owned(), token: token.to_owned() }
    }

    /// A client on another address than 127.0.0.1.
    pub fn from(base: &str, tenant: &str, address: IpAddr) -> Self {
        let http = reqwest::Client::builder().local_address(address).build().expect("a client");
        Self { http, ..Self::new(base, tenant) }
    }

    /// The same client, at another instance.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/whatsapp/{path}", self.base)).bearer_auth(&self.token)
    }

    pub async fn connect(&self) -> Value {
        self.post("connect").await
    }

    /// Asks for a pairing code beside the QR.
    pub async fn connect_by_code(&self, number: &str) -> Value {
        let ask = self.ask(Method::POST, "connect").json(&json!({ "phoneNumber": number }));
        read(within("connect", ask.send()).await.expect("an answer")).await
    }

    /// Asks for a link of this account only.
    pub async fn connect_expecting(&self, number: &str) -> Value {
        let ask = self.ask(Method::POST, "connect").json(&json!({ "expectedPhoneNumber": number }));
        read(within("connect", ask.send()).await.expect("an answer")).await
    }

    pub async fn disconnect(&self) -> Value {
        self.post("disconnect").await
    }

    pub async fn status(&self) -> Value {
        read(within("status", self.ask(Method::GET, "status").send()).await.expect("an answer")).await
    }

    pub async fn events(&self) -> EventStream {
        self.events_after(None).await
    }

    pub async fn events_after(&self, last_event_id: Option<&str>) -> EventStream {
        let mut ask = self.ask(Method::GET, "events").header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            ask = ask.header("last-event-id", id);
        }
        let answer = within("the stream's headers", ask.send()).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        EventStream::new(answer)
    }

    async fn post(&self, path: &str) -> Value {
        read(within(path, self.ask(Method::POST, path).send()).await.expect("an answer")).await
    }
}

async fn read(answer: Response) -> Value {
    let status = answer.status();
    let body = answer.text().await.expect("a body");
    assert!(status.is_success(), "{status}: {body}");
    serde_json::from_str(&body).expect("a JSON body")
}
