//! `GET /api/whatsapp/events`: finds the tenant, subscribes, writes the first bytes at once, then the backlog, then
//! live events. A stream ends with its token, when the instance drains, or when its reader falls behind.
//!
//! What it guarantees:
//! - A reader gets the events after its `Last-Event-ID` once and in order, or the current status if they are not known.
//! - An open stream gets a heartbeat at intervals, so that a page notices a broken connection.
//! - A slow reader costs a bounded time and a bounded number of bytes: then its stream is cut.
//!
//! What it must not do: write to the store, or send a status that the journal has not returned.
//!
//! Where to start reading: `events` in this file, then `stream` and `sse_encoder`.

mod chunk;
mod frame;
#[cfg(test)]
mod fuzz;
mod handle;
mod stream_limit;
mod heartbeat;
mod revocation;
mod socket;
mod stream;
mod sse_encoder;
mod timer;

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warp::{
    http::{HeaderMap, HeaderValue, header},
    reply::Response,
};

use super::{
    RouteRequest, Settings,
    detach::Leaving,
    error::{Code, Problem},
    identity,
};
use crate::{
    auth::TokenError,
    events::{EventId, News},
    store::{Journal, StoreError, Subscription, Update},
    telemetry::{
        Episode, metrics,
        words::{STREAMS, STREAMS_PER_TENANT},
    },
    tenant::TenantId,
};
use chunk::Chunk;
pub use frame::Name;
pub use revocation::end_revoked;
pub use socket::Socket;
use sse_encoder::SseEncoder;
pub use stream::EventStream;
use stream_limit::{Crowded, Max};

const RETRY_MS: std::ops::RangeInclusive<u32> = 1_000..=5_000;
/// A stream has to be closed first, which takes a user a while.
const CROWDED_RETRY_SECONDS: u32 = 30;
/// The `retry:` of a stream that ends at once, since too many are open or were opened.
const OVER_BUDGET_RETRY_MS: u32 = 30_000;
/// Caddy up to 2.6.2 with `encode` compresses a stream whose first write is larger than this, and never flushes it. If the
/// first write is not, the whole stream passes as it is.
const FIRST_WRITE_BYTES_MAX: usize = 512;

/// State that all streams of this instance share.
pub struct Streams {
    limit: stream_limit::StreamLimit,
    heartbeat: Chunk,
    full: Episode,
}

impl Streams {
    /// `end`: streams end, and the rest goes on until `stop`.
    pub fn start(settings: &Settings, end: CancellationToken, stop: CancellationToken, tracker: &TaskTracker) -> Self {
        let max = Max { all: settings.caps.streams, of_tenant: settings.streams_per_tenant_max };
        let limit = stream_limit::StreamLimit::new(max);
        heartbeat::start(limit.clone(), settings.heartbeat, end, stop, tracker);
        Self { limit, heartbeat: Chunk::new(&frame::heartbeat(settings.heartbeat)), full: Episode::default() }
    }

    /// Writes a line once the limit of the instance has not been reached for a while.
    pub fn report(&self) {
        if let Some(times) = self.full.over() {
            tracing::info!(times, "stream limit of this instance no longer reached");
        }
    }
}

pub async fn events(request: RouteRequest, query: String) -> Result<Response, Problem> {
    let identity = identity::read_caller(&request).await?;
    let (services, context, tenant) = (request.services(), &request.context, &identity.tenant);
    if !context.budgets.take_opening(tenant) {
        return Ok(ended_at_once(services.settings.heartbeat));
    }
    let max = services.settings.streams_per_tenant_max;
    let slot = match context.streams.limit.take(tenant, identity.issued_at).await {
        Ok(slot) => slot,
        Err(Crowded::Instance) => {
            metrics().limits.add(STREAMS);
            if context.streams.full.add() {
                let max = services.settings.caps.streams;
                tracing::warn!(max, "stream limit of this instance reached, new streams are ended at once");
            }
            return Ok(ended_at_once(services.settings.heartbeat));
        }
        Err(Crowded::Tenant) => {
            metrics().limits.add(STREAMS_PER_TENANT);
            if let Some(unlogged) = context.budgets.take_line(tenant) {
                tracing::warn!(%tenant, max, unlogged, "a stream too many was refused for tenant");
            }
            let detail = format!("{max} streams are open for this tenant on this instance; close one");
            return Err(Problem::new(Code::TooManyStreams, detail).retry_after(CROWDED_RETRY_SECONDS));
        }
    };
    // Again, now that the stream is one of those that a revocation ends. Without this, one that comes between the first check
    // and this line would end no stream.
    if services.verifier.is_revoked(tenant, identity.issued_at) {
        return Err(TokenError::Revoked.into());
    }
    let after = last_event_id(&request.headers, &query);
    tracing::debug!(%tenant, "stream authenticated for tenant");

    let mut subscription = services.journal.subscribe(tenant, after).await;
    let mut encoder = SseEncoder::new(tenant.clone());
    let mut opening = frame::opening(rand::random_range(RETRY_MS), services.settings.heartbeat);
    let backlog = backlog(&mut subscription).await;
    let (mut present, written) = if backlog.is_empty() && is_unknown(services.journal.as_ref(), tenant, after).await {
        (encoder.never_linked(), News { status: true, qr: false, pair: false })
    } else {
        encoder.opening(backlog, after, services.clock.now())
    };
    if let Some(unlogged) = context.budgets.take_line(tenant) {
        let News { status, qr: code, pair } = written;
        tracing::info!(%tenant, status, code, pair, unlogged, "stream opened for tenant");
    }
    if opening.len() + present.len() <= FIRST_WRITE_BYTES_MAX {
        opening.push_str(&std::mem::take(&mut present));
    }

    let stream = EventStream {
        texts: Some(Box::new([opening, present])),
        subscription,
        encoder,
        token_ends_at: identity.expires_at,
        context: context.clone(),
        slot,
    };
    let mut answer = as_stream(Response::default());
    answer.extensions_mut().insert(Leaving::new(stream));
    Ok(answer)
}

/// With another status than 200 an EventSource would never come back.
fn ended_at_once(heartbeat: Duration) -> Response {
    as_stream(Response::new(frame::opening(OVER_BUDGET_RETRY_MS, heartbeat).into()))
}

fn as_stream(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in
        [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-store, no-transform")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// An id that is not ours counts as none: an error would end an EventSource for good. Polyfills that cannot send the
/// header append `lastEventId` to the query, where no character of an id has to be escaped.
pub(super) fn last_event_id(headers: &HeaderMap, query: &str) -> Option<EventId> {
    match headers.get("last-event-id") {
        Some(value) => EventId::parse(value.to_str().ok()?),
        None => EventId::parse(query.split('&').rev().find_map(|pair| pair.strip_prefix("lastEventId="))?),
    }
}

/// The events from before the subscription. They are in memory already, so this does not wait.
async fn backlog(subscription: &mut Subscription) -> Vec<Update> {
    let mut kept = Vec::with_capacity(subscription.backlog());
    for _ in 0..subscription.backlog() {
        kept.extend(subscription.next().await);
    }
    kept
}

/// Whether an empty backlog means "never linked here", and not "nothing missed".
async fn is_unknown(journal: &dyn Journal, tenant: &TenantId, after: Option<EventId>) -> bool {
    if after.is_none() {
        return true;
    }
    // The id may be of another journal.
    let latest: Result<_, StoreError> = journal.latest(tenant).await;
    latest.is_ok_and(|latest| latest.is_none())
}
