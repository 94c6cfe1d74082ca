use bytes::Bytes;
use warp::{
    http::{HeaderValue, StatusCode, header},
    reply::{Reply, Response},
};

use super::{
    RouteRequest, body,
    error::{Code, Problem},
    identity,
    payload::StatusBody,
    phone,
};
use crate::{
    events::{Shown, StatusWord},
    link_options::LinkOptions,
    tenant::TenantId,
};

pub async fn connect(request: RouteRequest, body: Result<Bytes, Problem>) -> Result<Response, Problem> {
    let identity = identity::command_caller(&request).await?;
    request.context.budgets.take_command(&identity.tenant)?;
    let body = body::object(&request.headers, &body?)?;
    let (phone, expected) = (phone::asked(&body)?, phone::expected(&body)?);
    let options = LinkOptions { expected, device_name: identity.device_name, proxy: identity.proxy };
    check_linked(&request, &identity.tenant, &options).await?;
    let shown = request.services().sessions.connect(&identity.tenant, phone, options).await?;
    Ok(accepted(&shown, &identity.tenant))
}

/// Refuses a request that would end the link of another account. Without this a mistyped number would remove a device that
/// works.
async fn check_linked(request: &RouteRequest, tenant: &TenantId, options: &LinkOptions) -> Result<(), Problem> {
    if options.expected_number().is_none() {
        return Ok(());
    }
    let shown = request.services().journal.present(tenant).await?;
    let linked = shown.as_ref().and_then(|shown| shown.event.status.account());
    if linked.is_some_and(|account| options.refuses(&account.phone)) {
        return Err(Problem::new(
            Code::OtherAccountLinked,
            "the tenant is linked to another number than expectedPhoneNumber; nothing was done. Disconnect it first",
        ));
    }
    Ok(())
}

/// No field of the body counts. A body that is no object is refused, as by every command.
pub async fn disconnect(request: RouteRequest, body: Result<Bytes, Problem>) -> Result<Response, Problem> {
    let identity = identity::command_caller(&request).await?;
    body::object(&request.headers, &body?)?;
    let shown = request.services().sessions.disconnect(&identity.tenant).await?;
    Ok(answer(&status_body(shown, &identity.tenant), Some(StatusWord::Disconnected)))
}

pub async fn status(request: RouteRequest) -> Result<Response, Problem> {
    let identity = identity::read_caller(&request).await?;
    request.context.budgets.take_read(&identity.tenant)?;
    let shown = request.services().journal.present(&identity.tenant).await?;
    Ok(answer(&status_body(shown, &identity.tenant), None))
}

pub fn status_body(shown: Option<Shown>, tenant: &TenantId) -> StatusBody {
    let tenant = tenant.reference();
    shown.map_or_else(|| StatusBody::never_linked(tenant), |shown| StatusBody::of(&shown, tenant))
}

/// Accepted; the result arrives on the stream.
pub fn accepted(shown: &Shown, tenant: &TenantId) -> Response {
    answer(&StatusBody::of(shown, tenant.reference()), Some(StatusWord::Connected))
}

/// A command is done (200) once the status is what it asked for, and accepted (202) until then.
pub fn answer(body: &StatusBody, asked: Option<StatusWord>) -> Response {
    let mut answer = warp::reply::json(body).into_response();
    if asked.is_some_and(|word| !body.is(word)) {
        *answer.status_mut() = StatusCode::ACCEPTED;
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
