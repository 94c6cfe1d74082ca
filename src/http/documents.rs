//! `/openapi.json` and `/asyncapi.json`: the API as documents, made from the types that answer it.
//!
//! What it guarantees: the schemas are those of the types that the program writes and reads. The list of operations is
//! written by hand.
//!
//! What it must not do: describe anything of a tenant or of the store. Both documents are public.
//!
//! Where to start reading: `openapi` for the operations, then `schemas` for the bodies.

mod asyncapi;
mod openapi;
mod operations;
mod schemas;

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Value, json};
use warp::{
    http::{HeaderValue, header},
    reply::Response,
};

use super::{RouteRequest, Settings};

/// Made for the first request: most runs of the tests end before one comes.
#[derive(Default)]
pub struct Documents {
    openapi: OnceLock<Bytes>,
    asyncapi: OnceLock<Bytes>,
}

pub fn openapi(request: RouteRequest) -> Response {
    answer(&request.context.documents.openapi, &request.services().settings, openapi::document)
}

pub fn asyncapi(request: RouteRequest) -> Response {
    answer(&request.context.documents.asyncapi, &request.services().settings, asyncapi::document)
}

fn answer(made: &OnceLock<Bytes>, settings: &Settings, make: fn(&Settings) -> Value) -> Response {
    let text = made.get_or_init(|| make(settings).to_string().into());
    let mut answer = Response::new(text.clone().into());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// What both documents begin with.
fn info(title: &str, description: &str) -> Value {
    json!({
        "title": title,
        "version": env!("CARGO_PKG_VERSION"),
        "description": description,
        "license": { "name": "MIT", "url": "https://spdx.org/licenses/MIT.html" },
    })
}

/// The ways to send a token.
fn security_schemes(settings: &Settings) -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.cookie,
            "description": "A command with the cookie needs an `Origin` of this service or an allowed one.",
        },
    })
}

#[cfg(test)]
pub use operations::OPERATIONS;
