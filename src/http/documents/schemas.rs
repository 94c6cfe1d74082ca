use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    events::WebhookBody,
    http::{
        admin::{ErasedBody, LinkedBody, ListBody, OfTenant, StreamsEnded},
        error::ProblemBody,
        health::ReadyBody,
        payload::{HeartbeatBody, PairBody, PairRefusedBody, PasskeyBody, QrBody, StatusBody},
    },
};

/// Every body of the stream, and of errors, by its name.
pub fn streamed() -> Map<String, Value> {
    let mut generator = generator(SchemaSettings::draft2020_12().for_serialize());
    generator.subschema_for::<StatusBody>();
    generator.subschema_for::<QrBody<'static>>();
    generator.subschema_for::<PairBody<'static>>();
    generator.subschema_for::<PairRefusedBody<'static>>();
    generator.subschema_for::<PasskeyBody<'static>>();
    generator.subschema_for::<HeartbeatBody>();
    generator.subschema_for::<ProblemBody<'static>>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert(
        "TokenExpired".into(),
        json!({ "description": "The token of the stream has ended, and with it the stream.", "type": "object", "additionalProperties": true }),
    );
    schemas
}

/// Every body that the service sends.
pub fn sent() -> Map<String, Value> {
    let mut generator = generator(SchemaSettings::draft2020_12().for_serialize());
    generator.subschema_for::<ReadyBody>();
    generator.subschema_for::<WebhookBody<'static>>();
    generator.subschema_for::<StreamsEnded>();
    generator.subschema_for::<ErasedBody>();
    generator.subschema_for::<LinkedBody>();
    let mut schemas = generator.take_definitions(true);
    schemas.append(&mut streamed());
    schemas
}

fn generator(settings: SchemaSettings) -> SchemaGenerator {
    SchemaGenerator::new(settings.with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    }))
}

/// Every body that the service reads. Those of a tenant are read by hand: what is wrong is answered in words.
pub fn read() -> Map<String, Value> {
    let mut generator = generator(SchemaSettings::draft2020_12().for_deserialize());
    generator.subschema_for::<OfTenant>();
    generator.subschema_for::<ListBody>();
    let mut schemas = generator.take_definitions(true);
    schemas.append(&mut read_by_hand());
    schemas
}

fn read_by_hand() -> Map<String, Value> {
    // Without padding: the last character has no bits that say nothing.
    let pattern = "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$";
    let base64url = json!({ "type": "string", "minLength": 2, "pattern": pattern });
    let text_or_null = json!({ "type": ["string", "null"] });
    let bodies = json!({
        "Connect": {
            "type": ["object", "null"],
            "properties": {
                "phoneNumber": {
                    "description": "Asks for a pairing code for this number beside the QR code: digits, beginning with the country code.",
                    "type": ["string", "null"],
                    "pattern": "^[1-9][0-9]{6,14}$",
                    "examples": ["6281234567890"],
                },
                "expectedPhoneNumber": {
                    "description": "Refuses every other account; `null` allows any again.",
                    "type": ["string", "null"],
                    "pattern": "^\\+?[1-9][0-9]{6,14}$",
                    "examples": ["+6281234567890"],
                },
            },
        },
        "Disconnect": { "type": ["object", "null"], "additionalProperties": true },
        "PasskeyAnswer": {
            "description": "With `pairing` it answers the step of that window of codes and of no other.",
            "oneOf": [
                {
                    "type": "object",
                    "required": ["assertion"],
                    "properties": {
                        "pairing": text_or_null,
                        "assertion": { "$ref": "#/components/schemas/Assertion" },
                    },
                },
                {
                    "type": "object",
                    "required": ["confirmed"],
                    "properties": {
                        "pairing": text_or_null,
                        "confirmed": {
                            "description": "The codes on the phone and on the page are the same.",
                            "type": "boolean",
                            "const": true,
                        },
                    },
                },
            ],
        },
        "Assertion": {
            "description": "What `navigator.credentials.get` returned, as JSON. Only these fields are read.",
            "type": "object",
            "required": ["rawId", "response"],
            "properties": {
                "rawId": base64url,
                "response": {
                    "type": "object",
                    "required": ["clientDataJSON", "authenticatorData", "signature"],
                    "properties": {
                        "clientDataJSON": base64url,
                        "authenticatorData": base64url,
                        "signature": base64url,
                        "userHandle": text_or_null,
                    },
                },
            },
        },
    });
    match bodies {
        Value::Object(bodies) => bodies,
        _ => unreachable!("it is written as an object"),
    }
}
