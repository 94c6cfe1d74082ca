//! The listener for metrics. It answers `/metrics` alone, on an address of its own, and checks no token: the address must
//! be one that only the operator's network reaches.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{Method, Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warp::{
    http::{HeaderValue, header},
    reply::{Reply as _, Response},
};

use super::error::{Code, Problem};
use crate::telemetry::{Exporter, SUM_UP_EVERY};

const PATH: &str = "/metrics";
/// Connections at once; one more is closed.
const SCRAPES_MAX: usize = 16;
/// For a whole connection: its request, the answer, and its end. A scraper connects anew for each scrape.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);
/// For the headers of a request.
const BUFFER_SIZE_BYTES: usize = 16 * 1024;
/// The pause if the process is out of file descriptors: retrying faster does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves metrics until `stop`.
pub async fn serve_metrics(listener: TcpListener, exporter: &'static Exporter, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(SCRAPES_MAX));
    let mut sums = interval(SUM_UP_EVERY);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            _ = sums.tick() => {
                exporter.sum_up();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match (accepted, places.clone().try_acquire_owned()) {
            (Ok((socket, _)), Ok(place)) => {
                let answered = timeout(SCRAPE_TIME_MAX, answer_one(socket, exporter));
                let stop = stop.clone();
                tasks.spawn(async move {
                    let _ = stop.run_until_cancelled(answered).await;
                    drop(place);
                });
            }
            (Ok(_), Err(_)) => {}
            (Err(_), _) => sleep(ACCEPT_PAUSE).await,
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn answer_one(socket: TcpStream, exporter: &'static Exporter) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(SCRAPE_TIME_MAX)
        .keep_alive(false)
        .max_buf_size(BUFFER_SIZE_BYTES);
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, exporter)) });
    if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
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
