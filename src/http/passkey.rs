use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::{
    RouteRequest, body,
    error::{Code, Problem},
    identity,
    sessions::accepted,
};
use crate::{
    events::{Passkey, Status},
    session::PasskeyAnswer,
};

/// Takes the owner's answer to WhatsApp's passkey step: `{"assertion":{…}}`, or `{"confirmed":true}` once the codes are the
/// same. The result arrives on the stream. With `pairing` it answers the step of that window of codes and of no other.
pub async fn passkey(request: RouteRequest, body: Result<Bytes, Problem>) -> Result<Response, Problem> {
    let identity = identity::command_caller(&request).await?;
    request.context.budgets.take_command(&identity.tenant)?;
    let body = body::object(&request.headers, &body?)?;
    let answer = read(&body)?;
    let is_meant = |asked: &Passkey| match body.get("pairing") {
        None | Some(Value::Null) => true,
        Some(pairing) => pairing.as_str() == Some(asked.pairing.to_string().as_str()),
    };
    let shown = request.services().journal.latest(&identity.tenant).await?;
    let now = request.services().clock.now();
    let asked = match shown.as_ref().map(|shown| &shown.event.status) {
        Some(Status::Connecting { passkey: Some(passkey), .. }) if passkey.expires_at > now => Some(passkey),
        _ => None,
    };
    let (Some(shown), Some(asked)) = (&shown, asked.filter(|asked| answer.answers(&asked.step) && is_meant(asked)))
    else {
        return Err(Problem::new(Code::PasskeyNotAsked, "WhatsApp does not wait for this now"));
    };
    request.services().sessions.answer(&identity.tenant, asked, answer).await?;
    Ok(accepted(shown, &identity.tenant))
}

fn read(body: &Map<String, Value>) -> Result<PasskeyAnswer, Problem> {
    let refuse = |why| Err(Problem::new(Code::BadPasskey, why));
    match (body.get("assertion"), body.get("confirmed")) {
        (Some(assertion), None) => match read_assertion(assertion) {
            Some(answer) => Ok(answer),
            None => refuse(
                "assertion must be a PublicKeyCredential as JSON: rawId, and response with clientDataJSON, \
                 authenticatorData and signature, each in base64url without padding",
            ),
        },
        (None, Some(Value::Bool(true))) => Ok(PasskeyAnswer::Confirmed),
        _ => refuse("send either {\"assertion\":{…}} or {\"confirmed\":true}"),
    }
}

/// Only what WhatsApp reads is passed on, in the shape in which its own page sends it.
fn read_assertion(assertion: &Value) -> Option<PasskeyAnswer> {
    let field = |name: &str| -> Option<&str> {
        let text = assertion["response"][name].as_str().filter(|text| !text.is_empty())?;
        URL_SAFE_NO_PAD.decode(text).is_ok().then_some(text)
    };
    let id = assertion["rawId"].as_str()?;
    let credential = URL_SAFE_NO_PAD.decode(id).ok().filter(|credential| !credential.is_empty())?;
    let json = json!({
        "id": id,
        "rawId": id,
        "type": "public-key",
        "response": {
            "clientDataJSON": field("clientDataJSON")?,
            "authenticatorData": field("authenticatorData")?,
            "signature": field("signature")?,
            "userHandle": field("userHandle"),
        },
    });
    Some(PasskeyAnswer::Assertion { json: json.to_string(), credential })
}
