use std::{future::ready, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt, pin_mut};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use warp::{
    Filter, Rejection,
    http::{HeaderMap, header},
};

use super::error::{Code, Problem};

const SIZE_MAX_BYTES: usize = 16 * 1024;
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

/// The request's body, whole. An error is a value, so that routes check the caller first and answer with that error
/// first.
pub fn limited() -> impl Filter<Extract = (Result<Bytes, Problem>,), Error = Rejection> + Clone {
    warp::body::stream().then(in_time)
}

/// Likewise, of a request that no route of warp has.
pub async fn whole(body: Incoming) -> Result<Bytes, Problem> {
    let parts = BodyStream::new(body).filter_map(|frame| ready(frame.map(|frame| frame.into_data().ok()).transpose()));
    in_time(parts).await
}

async fn in_time<E>(body: impl Stream<Item = Result<impl Buf, E>>) -> Result<Bytes, Problem> {
    match tokio::time::timeout(ARRIVAL_MAX, read(body)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(Code::RequestTimeout, "the body did not arrive in time")),
    }
}

async fn read<E>(body: impl Stream<Item = Result<impl Buf, E>>) -> Result<Bytes, Problem> {
    pin_mut!(body);
    let mut whole = BytesMut::new();
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| Problem::new(Code::BadJson, "the body broke off"))?;
        if whole.len() + part.remaining() > SIZE_MAX_BYTES {
            return Err(Problem::new(Code::BodyTooLarge, format!("{SIZE_MAX_BYTES} bytes are the most")));
        }
        let mut part = part;
        whole.extend_from_slice(&part.copy_to_bytes(part.remaining()));
    }
    Ok(whole.freeze())
}

/// The body as a JSON object. An empty one and `null` have no fields: clients send either for "no body". Only an empty
/// one needs no content type.
pub fn object(headers: &HeaderMap, body: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(serde_json::Map::new());
    }
    let written = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = written.split(';').next().unwrap_or_default().trim();
    // Other types can be sent across origins without a preflight: one more wall for the cookie.
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::UnsupportedMediaType, "send the body as application/json, or none"));
    }
    match serde_json::from_slice(body) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(serde_json::Value::Null) => Ok(serde_json::Map::new()),
        Ok(_) => Err(Problem::new(Code::BadJson, "send a JSON object, null or no body")),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(Problem::new(Code::BadJson, format!("not JSON at line {line}, column {column}")))
        }
    }
}
