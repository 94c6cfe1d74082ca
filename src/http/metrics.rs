//! The listener for metrics. It answers `/metrics` alone, on an address of its own, and checks no token: the address must
//! be one that only the operator's network reaches.

use std::{convert::Infallible, time::Duration};

use hyper::{Method, Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use warp::{
    http::{HeaderValue, header},
    reply::{Reply as _, Response},
};

use super::{
    error::{Code, Problem},
    few::Few,
    parse_errors::ParseErrorBodies,
};
use crate::telemetry::{Exporter, SUM_UP_EVERY};

const PATH: &str = "/metrics";
/// Connections at once; one more is closed.
const SCRAPES_MAX: usize = 16;
/// Of these, connections of one address.
const SCRAPES_PER_ADDRESS_MAX: usize = 8;
/// For a whole connection: its request, the answer, and its end. A scraper connects anew for each scrape.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);
/// For the headers of a request.
const BUFFER_SIZE_BYTES: usize = 16 * 1024;

/// Serves metrics until `stop`.
pub async fn serve_metrics(listener: TcpListener, exporter: &'static Exporter, stop: CancellationToken) {
    let few = Few {
        connections_max: SCRAPES_MAX,
        per_address_max: SCRAPES_PER_ADDRESS_MAX,
        connection_time_max: SCRAPE_TIME_MAX,
        tick_every: SUM_UP_EVERY,
    };
    let answer = |socket| {
        let stop = stop.clone();
        async move { _ = stop.run_until_cancelled(answer_one(socket, exporter)).await }
    };
    few.accept(listener, stop.clone(), || exporter.sum_up(), answer).await;
}

async fn answer_one(socket: TcpStream, exporter: &'static Exporter) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(SCRAPE_TIME_MAX)
        .keep_alive(false)
        .max_buf_size(BUFFER_SIZE_BYTES);
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, exporter)) });
    if let Err(error) = http.serve_connection(TokioIo::new(ParseErrorBodies::new(socket)), service).await {
        tracing::debug!(%error, "a scrape broke off");
    }
}

fn answer(request: &Request<Incoming>, exporter: &Exporter) -> Response {
    if request.uri().path() != PATH {
        return Problem::new(Code::NotFound, "no such address; metrics are at /metrics").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let methods = "GET, HEAD";
        return Problem::new(Code::MethodNotAllowed, format!("this address takes {methods}"))
            .allow(methods.to_owned())
            .into_response();
    }
    let mut response = Response::new(exporter.render().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
