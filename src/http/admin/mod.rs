//! The listener for back ends. It answers `/admin/…` alone, on an address of its own, to Bearer tokens with the scope
//! [`SCOPE`].
//!
//! What it guarantees:
//! - No request without a valid token with the scope reaches a tenant.
//! - A tenant is named in the body and never in an address, which proxies write into their logs.
//! - Requests and their time are bounded, also while the store does not answer.
//!
//! What it must not do: accept a cookie, or answer a route of the public listener.
//!
//! Where to start reading: `serve_admin` in this file, then `Action`, which has one word for each address.

mod actions;

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{Method, Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    pin,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use warp::{
    http::{HeaderMap, header},
    reply::{Reply as _, Response},
};

use super::{
    Services, body,
    error::{Code, Problem},
    few::Few,
    identity,
    parse_errors::ParseErrorBodies,
    refusals::Refusals,
    request_id::{self, REQUEST_ID},
};
use actions::Action;

pub use actions::{ErasedBody, LinkedBody, ListBody, OfTenant, StreamsEnded};

/// What a token needs here. It gives nothing on the public listener.
const SCOPE: &str = "whatsapp:admin";
const METHOD: &str = "POST";
/// Requests at once; a further connection is closed.
const REQUESTS_MAX: usize = 64;
/// Of these, requests of one address.
const REQUESTS_PER_ADDRESS_MAX: usize = 32;
/// For a whole connection: its request, the answer, and its end. An erasure takes the longest.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// For the headers of a request.
const HEADERS_ARRIVAL_MAX: Duration = Duration::from_secs(10);
const BUFFER_SIZE_BYTES: usize = 16 * 1024;
const REPORT_EVERY: Duration = Duration::from_secs(10);

struct Admin {
    services: Services,
    refusals: Refusals,
}

/// Serves back ends until `stop`, then lets requests under way finish.
pub async fn serve_admin(listener: TcpListener, services: Services, stop: CancellationToken) {
    let admin = Arc::new(Admin { services, refusals: Refusals::default() });
    let few = Few {
        connections_max: REQUESTS_MAX,
        per_address_max: REQUESTS_PER_ADDRESS_MAX,
        connection_time_max: REQUEST_TIME_MAX,
        tick_every: REPORT_EVERY,
    };
    let answer = |socket| answer_one(socket, admin.clone(), stop.clone());
    few.accept(listener, stop.clone(), || admin.refusals.flush(), answer).await;
    admin.refusals.flush();
}

async fn answer_one(socket: TcpStream, admin: Arc<Admin>, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_ARRIVAL_MAX)
        .keep_alive(false)
        .max_buf_size(BUFFER_SIZE_BYTES);
    let service = service_fn(|request: Request<Incoming>| {
        let id = request_id::of(request.headers());
        let span = request_id::span(&id, request.headers());
        let admin = admin.clone();
        let answered = async move {
            let mut answer = admin.answer(request).await.unwrap_or_else(Problem::into_response);
            answer.headers_mut().insert(REQUEST_ID, id);
            answer
        };
        let answered = answered.instrument(span);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http.serve_connection(TokioIo::new(ParseErrorBodies::new(socket)), service);
    pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of a back end broke off");
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Problem> {
        let Some(action) = Action::at(request.uri().path()) else {
            return Err(Problem::new(Code::NotFound, "no such address"));
        };
        if *request.method() != Method::POST {
            let detail = format!("this address takes {METHOD}");
            return Err(Problem::new(Code::MethodNotAllowed, detail).allow(METHOD.to_owned()));
        }
        if request.uri().query().is_some() {
            return Err(Problem::new(Code::BadRequest, "no query is read here; send a JSON body"));
        }
        self.authorize(request.headers()).await.inspect_err(|problem| self.refusals.add(problem.code))?;
        let (parts, body) = request.into_parts();
        let body = body::object(&parts.headers, &body::whole(body).await?)?;
        action.run(&self.services, body).await
    }

    /// A cookie is no token here: no browser has to send commands to this listener.
    async fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = identity::bearer_token(headers)? else {
            let mut detail = "no Authorization: Bearer came".to_owned();
            if headers.contains_key(header::AUTHORIZATION) {
                detail.push_str("; Authorization does not begin with the word Bearer and a space");
            }
            return Err(Problem::new(Code::MissingToken, detail));
        };
        let has_scope = self.services.verifier.has_scope(token, SCOPE).await;
        if has_scope.map_err(|error| identity::refused(error, "the token of Authorization", token))? {
            return Ok(());
        }
        Err(Problem::new(Code::ScopeMissing, format!("the token's claim scope does not name {SCOPE}")))
    }
}

/// The addresses of this listener, and the method of all of them.
#[cfg(test)]
pub fn addresses() -> impl Iterator<Item = (&'static str, &'static str)> {
    Action::ALL.into_iter().map(|action| (action.path(), METHOD))
}
