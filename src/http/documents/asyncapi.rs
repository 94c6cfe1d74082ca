use serde_json::{Map, Value, json};

use super::{info, schemas, security_schemes};
use crate::http::{Settings, events::Name};

/// The event with its schema and one sentence.
fn event(name: Name) -> (&'static str, &'static str) {
    match name {
        Name::ConnectionStatus => ("ConnectionStatus", "The status, whole: the newest alone is enough."),
        Name::QrCode => ("QrCode", "A QR code that can be scanned now."),
        Name::PairCode => ("PairCode", "A code to type on the phone instead of scanning."),
        Name::PairCodeRefused => ("PairCodeRefused", "There is no pairing code; the QR code goes on."),
        Name::PasskeyRequired => ("PasskeyRequired", "WhatsApp asks for the account's passkey."),
        Name::Heartbeat => ("Heartbeat", "The connection works. Open a new stream after two and a half missed ones."),
        Name::TokenExpired => ("TokenExpired", "The token has ended, and with it the stream."),
    }
}

/// The stream, as AsyncAPI 3.0.
pub fn document(settings: &Settings) -> Value {
    let (mut channel, mut messages) = (Map::new(), Map::new());
    for name in Name::ALL {
        let ((schema, summary), word) = (event(*name), name.as_str());
        channel.insert(word.into(), json!({ "$ref": format!("#/components/messages/{word}") }));
        messages.insert(
            word.into(),
            json!({
                "name": word,
                "summary": summary,
                "contentType": "application/json",
                "payload": { "$ref": format!("#/components/schemas/{schema}") },
            }),
        );
    }
    let mut schemas = schemas::streamed();
    schemas.remove("Problem");
    let description = "Server-Sent Events: `event` is the message's name, `data` its payload as one line of JSON, and `id` \
                       goes back as `Last-Event-ID` to resume. Ignore names and fields that you do not know: later \
                       versions add some.";
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": info("Tautan: the stream", description),
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": "/api/whatsapp/events",
                "description": "One tenant's events: the tenant of the token.",
                "messages": channel,
            },
        },
        "operations": {
            "sendEvents": {
                "action": "send",
                "summary": "What the service sends to every open stream of the tenant.",
                "channel": { "$ref": "#/channels/events" },
            },
        },
        "components": {
            "messages": messages,
            "schemas": schemas,
        },
    });
    if let Some((protocol, host)) = settings.public_url.as_deref().and_then(|url| url.split_once("://")) {
        let security = [json!({ "$ref": "#/components/securitySchemes/bearer" })];
        document["servers"] = json!({ "service": { "host": host, "protocol": protocol, "security": security } });
        document["components"]["securitySchemes"] = json!({ "bearer": security_schemes(settings)["bearer"] });
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_schema_of_its_own() {
        let document = document(&Settings::default());
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut named: Vec<_> = Name::ALL.iter().map(|name| event(*name).0).collect();
        named.sort_unstable();
        assert_eq!(named, schemas.keys().map(String::as_str).collect::<Vec<_>>());
    }
}
