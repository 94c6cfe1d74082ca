use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use warp::{
    http::StatusCode,
    reply::{Reply, Response},
};

use super::RouteRequest;
use crate::{events::one_of, telemetry::metrics};

const NOT_DELIVERING: &str = "not-delivering";
/// What `/readyz` and the metrics say of the store.
const STORE_WORDS: [&str; 4] = ["ok", "away", NOT_DELIVERING, "read-only"];

/// The health of this instance. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    draining: AtomicBool,
    store_away: AtomicBool,
    store_read_only: AtomicBool,
    not_delivering: AtomicBool,
}

/// Whether the store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// The store answers and accepts writes.
    Ok,
    /// The store does not answer. Readiness does not change: a balancer's 503 would end every EventSource for good.
    Away,
    /// The store answers and refuses writes. Readiness does not change either.
    ReadOnly,
}

/// The answer of `/readyz`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Ready")]
pub struct ReadyBody {
    #[schemars(schema_with = "store_words")]
    store: &'static str,
    /// Present only while the instance drains.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(schema_with = "only_true")]
    draining: bool,
}

fn store_words(_: &mut SchemaGenerator) -> Schema {
    one_of(STORE_WORDS.into_iter())
}

fn only_true(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "boolean", "const": true })
}

impl Health {
    /// From now on balancers should send no new requests here.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Notes the state of the store.
    pub fn set_store(&self, state: StoreState) {
        self.0.store_away.store(state == StoreState::Away, Ordering::Relaxed);
        self.0.store_read_only.store(state == StoreState::ReadOnly, Ordering::Relaxed);
        self.export();
    }

    /// False: published messages do not arrive here although the store answers. Balancers should use other instances.
    pub fn set_delivering(&self, delivering: bool) {
        self.0.not_delivering.store(!delivering, Ordering::Relaxed);
        self.export();
    }

    fn export(&self) {
        metrics().store_state.prepare(STORE_WORDS.map(|word| [word]));
        metrics().store_state.set_only(self.store_word());
    }

    /// One of [`STORE_WORDS`].
    fn store_word(&self) -> &'static str {
        let flags = &self.0;
        let [ok, away, not_delivering, read_only] = STORE_WORDS;
        if flags.store_away.load(Ordering::Relaxed) {
            away
        } else if flags.not_delivering.load(Ordering::Relaxed) {
            not_delivering
        } else if flags.store_read_only.load(Ordering::Relaxed) {
            read_only
        } else {
            ok
        }
    }
}

pub fn healthz() -> Response {
    "ok\n".into_response()
}

pub fn readyz(request: RouteRequest) -> Response {
    let flags = &request.services().health.0;
    let draining = flags.draining.load(Ordering::Relaxed) || request.services().end_streams.is_cancelled();
    let store = request.services().health.store_word();
    let ready = !draining && store != NOT_DELIVERING;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    warp::reply::with_status(warp::reply::json(&ReadyBody { store, draining }), status).into_response()
}
