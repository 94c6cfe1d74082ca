use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::{ConnectingReason, EndReason, Event, Shown, Status, StatusWord, shown_name};
use crate::{clock::rfc3339, tenant::TenantRef};

/// The body of `connection-status`: on the stream, in the JSON endpoints and in webhooks. It has no field for a code to
/// pair with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConnectionStatus")]
pub struct StatusBody {
    #[schemars(schema_with = "words")]
    status: &'static str,
    /// Digits, beginning with the country code.
    phone_number: Option<String>,
    name: Option<String>,
    /// Left out where WhatsApp has not sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    platform: Option<String>,
    #[schemars(schema_with = "reasons")]
    reason: Option<&'static str>,
    /// Whether "connect" again can help.
    retryable: bool,
    /// When a ban ends, if WhatsApp has said so.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// When the status became this word.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The status may be out of date.
    stale: bool,
    /// The window of codes that the status belongs to.
    pairing: Option<String>,
    /// The public name of the tenant. Left out of webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    tenant_ref: Option<String>,
    /// Present only where WhatsApp did not receive an unlink.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    remote: Option<bool>,
}

impl StatusBody {
    /// The current status for the tenant's page, with `stale` and `tenantRef`.
    pub fn of(shown: &Shown, tenant: TenantRef) -> Self {
        let status = shown.status();
        Self {
            since: Some(rfc3339(shown.event.since)),
            stale: shown.stale,
            tenant_ref: Some(tenant.to_string()),
            ..Self::bare(&status)
        }
    }

    /// The event's own status, without regard to whether it is stale by now.
    pub fn of_event(event: &Event) -> Self {
        Self { since: Some(rfc3339(event.since)), ..Self::bare(&event.status) }
    }

    /// A tenant that never had a session here.
    pub fn never_linked(tenant: TenantRef) -> Self {
        Self { tenant_ref: Some(tenant.to_string()), ..Self::bare(&Status::ended(EndReason::NeverLinked)) }
    }

    fn bare(status: &Status) -> Self {
        let account = status.account();
        let body = Self {
            status: status.word().as_str(),
            phone_number: account.map(|account| account.phone.as_str().to_owned()),
            name: account.and_then(|account| shown_name(account.name.as_deref()?)),
            platform: account.and_then(|account| Some(account.platform.as_ref()?.as_str().to_owned())),
            reason: None,
            retryable: false,
            until: None,
            since: None,
            stale: false,
            pairing: status.pairing().map(|pairing| pairing.to_string()),
            tenant_ref: None,
            remote: None,
        };
        match status {
            Status::Disconnected { reason, until, remote, .. } => Self {
                reason: Some(reason.as_str()),
                retryable: reason.retryable(),
                until: until.map(rfc3339),
                remote: (reason.sends_unlink() && !remote).then_some(false),
                ..body
            },
            Status::Connecting { reason, .. } => Self { reason: Some(reason.as_str()), ..body },
            Status::QrPending { .. } | Status::Connected { .. } => body,
        }
    }

    /// Whether its status is this word.
    pub fn is(&self, word: StatusWord) -> bool {
        self.status == word.as_str()
    }

    /// Its status word.
    pub fn word(&self) -> &'static str {
        self.status
    }
}

fn words(_: &mut SchemaGenerator) -> Schema {
    one_of(StatusWord::ALL.iter().map(|word| word.as_str()))
}

fn reasons(_: &mut SchemaGenerator) -> Schema {
    let (ends, connecting) = (EndReason::ALL.iter(), ConnectingReason::ALL.iter());
    let words = ends.map(|reason| reason.as_str()).chain(connecting.map(|reason| reason.as_str()));
    let words: Vec<Option<&str>> = words.map(Some).chain([None]).collect();
    json_schema!({ "type": ["string", "null"], "enum": words })
}

/// The schema of a text that is one of these words.
pub fn one_of(words: impl Iterator<Item = &'static str>) -> Schema {
    json_schema!({ "type": "string", "enum": words.collect::<Vec<_>>() })
}
