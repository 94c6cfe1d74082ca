use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};
use warp::{
    http::{HeaderValue, header},
    reply::{Reply as _, Response},
};

use crate::{
    clock::rfc3339,
    events::{StatusWord, one_of},
    http::{
        Services,
        error::{Code, Problem},
        payload::StatusBody,
        sessions::{answer, status_body},
    },
    session::Erased,
    tenant::TenantId,
};

/// Linked tenants in one answer.
const LINKED_PAGE_MAX: usize = 500;
const LINKED_PAGE: usize = 100;
/// Time for the session to end: an unlink waits up to 10 s for WhatsApp, and an owner that dies is noticed after 8 s.
/// Shorter than a back end's HTTP client waits, as a rule.
const ERASE_TIME_MAX: Duration = Duration::from_secs(25);

/// What [`TenantId::parse`] accepts, for tools that make requests.
const TENANT: &str = "^[!-~]{1,255}$";

/// What a back end can ask for, each at an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Status,
    EndStreams,
    Disconnect,
    Erase,
    Linked,
}

/// A body that names a tenant and nothing else.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdminTenant")]
pub struct OfTenant {
    /// The tenant as its token names it.
    #[schemars(extend("pattern" = TENANT))]
    tenant: String,
}

/// The body of `/admin/linked`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdminLinked", extend("type" = ["object", "null"]))]
pub struct ListBody {
    /// `next` of the page before.
    #[schemars(extend("pattern" = TENANT))]
    after: Option<String>,
    /// 100 if it is left out.
    #[schemars(with = "Option<usize>", range(min = 1, max = LINKED_PAGE_MAX))]
    limit: Option<Whole>,
}

/// A number without a fraction. JSON Schema, and so the API's document, has `17.0` as an integer; serde has not.
struct Whole(usize);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            return Ok(Self(number as usize));
        }
        Err(D::Error::custom("no whole number"))
    }
}

/// The answer of `/admin/streams/end`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamsEnded {
    /// Tokens that were issued in this second or before are refused.
    #[schemars(extend("format" = "date-time"))]
    not_before: String,
}

/// The answer of `/admin/erase`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Erased")]
pub struct ErasedBody {
    #[schemars(schema_with = "outcomes")]
    outcome: &'static str,
}

/// A tenant in [`LinkedBody`].
#[derive(Serialize, JsonSchema)]
pub struct LinkedTenant {
    tenant: String,
    #[serde(flatten)]
    status: StatusBody,
}

/// The answer of `/admin/linked`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LinkedTenants")]
pub struct LinkedBody {
    tenants: Vec<LinkedTenant>,
    /// `after` of the next page; `null`: there is none.
    next: Option<String>,
}

impl Action {
    pub const ALL: [Self; 5] = [Self::Status, Self::EndStreams, Self::Disconnect, Self::Erase, Self::Linked];

    pub const fn path(self) -> &'static str {
        match self {
            Self::Status => "/admin/status",
            Self::EndStreams => "/admin/streams/end",
            Self::Disconnect => "/admin/disconnect",
            Self::Erase => "/admin/erase",
            Self::Linked => "/admin/linked",
        }
    }

    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.path() == path)
    }

    pub async fn run(self, services: &Services, body: Map<String, Value>) -> Result<Response, Problem> {
        let sessions = &services.sessions;
        let of_tenant = |body| {
            let OfTenant { tenant } = read(body, "tenant")?;
            let tenant = named(&tenant)?;
            // Who may do this is few: what they do stands in the log.
            tracing::info!(%tenant, action = ?self, "a back end asked");
            Ok::<_, Problem>(tenant)
        };
        Ok(match self {
            Self::Status => {
                let tenant = of_tenant(body)?;
                answer(&status_body(services.journal.present(&tenant).await?, &tenant), None)
            }
            Self::EndStreams => {
                let until = sessions.revoke_tokens(&of_tenant(body)?).await?;
                json(&StreamsEnded { not_before: rfc3339(until) })
            }
            Self::Disconnect => {
                let tenant = of_tenant(body)?;
                let shown = sessions.disconnect(&tenant).await?;
                answer(&status_body(shown, &tenant), Some(StatusWord::Disconnected))
            }
            Self::Erase => {
                let erased = sessions.erase(&of_tenant(body)?, ERASE_TIME_MAX).await?;
                json(&ErasedBody { outcome: outcome(erased) })
            }
            Self::Linked => linked(services, read(body, "after and limit, or no body")?).await?,
        })
    }
}

const fn outcome(erased: Erased) -> &'static str {
    match erased {
        Erased::Fully => "erased",
        Erased::StillListed => "still-listed",
        Erased::Unknown => "unknown",
    }
}

fn outcomes(_: &mut SchemaGenerator) -> Schema {
    one_of([Erased::Fully, Erased::StillListed, Erased::Unknown].map(outcome).into_iter())
}

async fn linked(services: &Services, ListBody { after, limit }: ListBody) -> Result<Response, Problem> {
    let limit = limit.map_or(LINKED_PAGE, |limit| limit.0);
    if !(1..=LINKED_PAGE_MAX).contains(&limit) {
        return Err(Problem::new(Code::BadJson, format!("limit is 1 to {LINKED_PAGE_MAX}")));
    }
    let after = after.as_deref().map(named).transpose()?;
    let page = services.sessions.linked(after, limit).await?;
    let tenants = page.tenants.iter().map(|(tenant, shown)| LinkedTenant {
        tenant: tenant.as_str().to_owned(),
        status: StatusBody::of(shown, tenant.reference()),
    });
    let next = page.next.map(|tenant| tenant.as_str().to_owned());
    Ok(json(&LinkedBody { tenants: tenants.collect(), next }))
}

/// The fields of the body. The detail repeats nothing of it, which may be in the wrong place.
fn read<T: DeserializeOwned>(body: Map<String, Value>, fields: &str) -> Result<T, Problem> {
    let read = serde_json::from_value(Value::Object(body));
    read.map_err(|_| Problem::new(Code::BadJson, format!("the body has other fields than these: {fields}")))
}

fn named(tenant: &str) -> Result<TenantId, Problem> {
    TenantId::parse(tenant).map_err(|error| Problem::new(Code::BadJson, error.to_string()))
}

fn json(body: &impl Serialize) -> Response {
    let mut answer = warp::reply::json(body).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fuzz::{CHEAP, check_bytes};

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn body_has_exactly_the_fields_of_its_action() {
        let tenant = |body| read::<OfTenant>(object(body), "tenant").map(|body| body.tenant);
        assert_eq!(tenant(json!({"tenant": "toko"})).unwrap(), "toko");
        for bad in [json!({}), json!({"tenant": 7}), json!({"tenant": null}), json!({"tenant": "toko", "force": true})]
        {
            assert_eq!(tenant(bad.clone()).unwrap_err().code, Code::BadJson, "{bad}");
        }
        let list = |body| read::<ListBody>(object(body), "after and limit");
        for good in [
            json!({}),
            json!({"after": null, "limit": null}),
            json!({"after": "toko", "limit": 1}),
            json!({"limit": 17.0}),
        ] {
            assert!(list(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            json!({"limit": -1}),
            json!({"limit": 1.5}),
            json!({"limit": "1"}),
            json!({"after": 1}),
            json!({"tenant": "toko"}),
        ] {
            assert!(list(bad.clone()).is_err(), "{bad}");
        }
    }

    /// A tenant that is not the one that was written would be the wrong one to erase.
    #[test]
    fn random_body_names_its_tenant_or_is_refused() {
        const PIECES: &[&[u8]] = &[
            b"{\"tenant\":\"toko-sari\"}",
            b"{\"tenant\":",
            b"{\"after\":",
            b"\"limit\":",
            b"\"toko\"",
            b"\"a b\"",
            b"100",
            b"-1",
            b"1e999",
            b"null",
            b"{",
            b"}",
            b"[",
            b"\"",
            b"\\u0000",
            b"\\ud800",
            b":",
            b",",
            b" ",
            b"\xff",
        ];
        check_bytes("admin-bodies", CHEAP, PIECES, |bytes| {
            let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else { return };
            if let Ok(OfTenant { tenant }) = read(body.clone(), "tenant") {
                assert_eq!((body.len(), &body["tenant"]), (1, &Value::from(tenant.as_str())));
                let is_name = (1..=255).contains(&tenant.len()) && tenant.bytes().all(|byte| byte.is_ascii_graphic());
                assert_eq!(named(&tenant).ok().map(|named| named.as_str() == tenant), is_name.then_some(true));
            }
            let _ = read::<ListBody>(body, "after and limit");
        });
    }

    #[test]
    fn address_names_an_action_and_never_a_tenant() {
        assert_eq!(Action::at("/admin/streams/end"), Some(Action::EndStreams));
        for other in
            ["/admin", "/admin/", "/admin/status/", "/admin/status/toko", "/Admin/status", "/api/whatsapp/status"]
        {
            assert_eq!(Action::at(other), None, "{other}");
        }
    }
}
