use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::{EventId, StatusBody, one_of};
use crate::{
    clock::{Timestamp, rfc3339},
    tenant::TenantId,
};

const TYPE: &str = "connection-status";

/// The body of a webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub struct WebhookBody<'a> {
    #[schemars(schema_with = "types")]
    r#type: &'static str,
    /// When the status changed.
    #[schemars(extend("format" = "date-time"))]
    timestamp: String,
    /// The tenant as its token names it.
    tenant: &'a str,
    /// The event's id on the stream.
    id: String,
    /// `stale` is always false, and there is no `tenantRef`.
    data: &'a StatusBody,
}

impl<'a> WebhookBody<'a> {
    /// A status of this tenant, which changed at `at`.
    pub fn of(tenant: &'a TenantId, id: EventId, at: Timestamp, status: &'a StatusBody) -> Self {
        Self { r#type: TYPE, timestamp: rfc3339(at), tenant: tenant.as_str(), id: id.to_string(), data: status }
    }
}

fn types(_: &mut SchemaGenerator) -> Schema {
    one_of([TYPE].into_iter())
}
