use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{info, schemas, security_schemes};
use crate::http::{Settings, error::Code};

/// Answers of every address.
const ANY: &[Code] = &[Code::BadRequest, Code::BadHost, Code::HeadersTooLarge];
/// Answers where a token is needed.
const TOKEN: &[Code] = &[
    Code::MissingToken,
    Code::MalformedToken,
    Code::ExpiredToken,
    Code::TokenNotYetValid,
    Code::WrongSignature,
    Code::WrongAlgorithm,
    Code::UnknownKey,
    Code::TokenWithoutExpiry,
    Code::BadTenant,
    Code::BadProxy,
    Code::WrongIssuer,
    Code::WrongAudience,
    Code::TokenRevoked,
    Code::AmbiguousToken,
    Code::KeysUnavailable,
    Code::Internal,
    Code::StoreUnavailable,
];
/// Answers of every command.
const COMMAND: &[Code] = &[
    Code::OriginMissing,
    Code::OriginNotAllowed,
    Code::TenantChanged,
    Code::BadJson,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
];

struct Operation {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    /// The request's body; `None`: a read.
    body: Option<Body>,
    /// Answers that are no errors: status, description, content by media type.
    answers: &'static [(u16, &'static str, Content)],
    needs_token: bool,
    codes: &'static [Code],
}

struct Body {
    schema: &'static str,
    required: bool,
}

#[derive(Clone, Copy)]
enum Content {
    Status,
    Stream,
    Code,
    Health,
    Text,
    Document,
}

const COMMAND_ANSWERS: &[(u16, &str, Content)] = &[
    (200, "The status is what the command asks for.", Content::Status),
    (202, "Accepted: what comes of it arrives on the stream.", Content::Status),
];

const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/api/whatsapp/connect",
        method: "post",
        id: "connect",
        summary: "Starts or resumes the session; repeating it starts no second one",
        body: Some(Body { schema: "Connect", required: false }),
        answers: COMMAND_ANSWERS,
        needs_token: true,
        codes: &[
            Code::BadPhoneNumber,
            Code::OtherAccountLinked,
            Code::TooManyCommands,
            Code::TooManyPairCodes,
            Code::TooManyDials,
            Code::NoCapacity,
        ],
    },
    Operation {
        path: "/api/whatsapp/disconnect",
        method: "post",
        id: "disconnect",
        summary: "Unlinks, or cancels a pairing; repeating it changes nothing",
        body: Some(Body { schema: "Disconnect", required: false }),
        answers: COMMAND_ANSWERS,
        needs_token: true,
        codes: &[],
    },
    Operation {
        path: "/api/whatsapp/disconnect",
        method: "delete",
        id: "disconnectByDelete",
        summary: "The same as POST",
        body: Some(Body { schema: "Disconnect", required: false }),
        answers: COMMAND_ANSWERS,
        needs_token: true,
        codes: &[],
    },
    Operation {
        path: "/api/whatsapp/passkey",
        method: "post",
        id: "answerPasskey",
        summary: "Answers the passkey step that WhatsApp asks of some accounts",
        body: Some(Body { schema: "PasskeyAnswer", required: true }),
        answers: COMMAND_ANSWERS,
        needs_token: true,
        codes: &[Code::BadPasskey, Code::PasskeyNotAsked, Code::TooManyCommands],
    },
    Operation {
        path: "/api/whatsapp/status",
        method: "get",
        id: "status",
        summary: "The status now; while the store is away the last known one, with `stale`",
        body: None,
        answers: &[(200, "The status now.", Content::Status)],
        needs_token: true,
        codes: &[],
    },
    Operation {
        path: "/api/whatsapp/qr",
        method: "get",
        id: "qr",
        summary: "The current QR code, in the form that `Accept` names",
        body: None,
        answers: &[(200, "The code.", Content::Code)],
        needs_token: true,
        codes: &[Code::NoQr, Code::NotAcceptable],
    },
    Operation {
        path: "/api/whatsapp/events",
        method: "get",
        id: "events",
        summary: "The tenant's stream, which `/asyncapi.json` describes",
        body: None,
        answers: &[(200, "Events, for as long as the token is valid.", Content::Stream)],
        needs_token: true,
        codes: &[Code::TooManyStreams],
    },
    Operation {
        path: "/healthz",
        method: "get",
        id: "healthz",
        summary: "Whether the process is up",
        body: None,
        answers: &[(200, "It is.", Content::Text)],
        needs_token: false,
        codes: &[],
    },
    Operation {
        path: "/readyz",
        method: "get",
        id: "readyz",
        summary: "Whether a balancer should send requests here",
        body: None,
        answers: &[(200, "It should.", Content::Health), (503, "It should not.", Content::Health)],
        needs_token: false,
        codes: &[],
    },
    Operation {
        path: "/openapi.json",
        method: "get",
        id: "openapi",
        summary: "This document",
        body: None,
        answers: &[(200, "OpenAPI 3.1.", Content::Document)],
        needs_token: false,
        codes: &[],
    },
    Operation {
        path: "/asyncapi.json",
        method: "get",
        id: "asyncapi",
        summary: "The stream's events",
        body: None,
        answers: &[(200, "AsyncAPI 3.0.", Content::Document)],
        needs_token: false,
        codes: &[],
    },
];

/// The requests and answers, as OpenAPI 3.1.
pub fn document(settings: &Settings) -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.document();
    }
    let (mut schemas, mut read) = (schemas::sent(), schemas::read());
    schemas.append(&mut read);
    let description = "Links a WhatsApp account for a tenant of a SaaS product. The tenant is the one that the token \
                       names. Ignore fields, reasons and codes that you do not know: later versions add some.";
    json!({
        "openapi": "3.1.0",
        "info": info("Tautan", description),
        "servers": [{ "url": settings.public_url.as_deref().unwrap_or("/") }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": security_schemes(settings),
            "parameters": {
                "IfTenant": {
                    "name": "If-Tenant",
                    "in": "header",
                    "description": "The `tenantRef` of the page that sends the command: a token of another tenant is refused.",
                    "schema": { "type": "string" },
                },
                "LastEventId": {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "description": "The newest id that the reader has: the stream begins with what it has missed.",
                    "schema": { "type": "string" },
                },
                "LastEventIdInQuery": {
                    "name": "lastEventId",
                    "in": "query",
                    "description": "Counts where the header is missing.",
                    "schema": { "type": "string" },
                },
            },
            "headers": {
                "RetryAfter": { "description": "Seconds.", "schema": { "type": "integer", "minimum": 0 } },
            },
        },
    })
}

impl Operation {
    fn codes(&self) -> impl Iterator<Item = Code> {
        let token = if self.needs_token { TOKEN } else { &[] };
        let command = if self.body.is_some() { COMMAND } else { &[] };
        [self.codes, ANY, token, command].into_iter().flatten().copied()
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": self.responses(),
            // An empty list says that none is needed.
            "security": if self.needs_token { json!([{ "bearer": [] }, { "cookie": [] }]) } else { json!([]) },
        });
        let parameters: &[&str] = match self.body {
            Some(_) => &["IfTenant"],
            None if self.id == "events" => &["LastEventId", "LastEventIdInQuery"],
            None => &[],
        };
        if !parameters.is_empty() {
            let refer = |name: &&str| json!({ "$ref": format!("#/components/parameters/{name}") });
            document["parameters"] = parameters.iter().map(refer).collect();
        }
        if let Some(Body { schema, required }) = &self.body {
            let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
            let content = json!({ "application/json": { "schema": schema } });
            document["requestBody"] = json!({ "required": required, "content": content });
        }
        document
    }

    fn responses(&self) -> Value {
        let mut responses = Map::new();
        let mut problems: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for code in self.codes() {
            problems.entry(code.status().as_u16()).or_default().push(code.as_str());
        }
        for (status, codes) in problems {
            let mut response = json!({
                "description": codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", "),
                "content": {
                    "application/problem+json": {
                        "schema": {
                            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
                            "properties": { "code": { "enum": codes } },
                        },
                    },
                },
            });
            if matches!(status, 429 | 503) {
                response["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
            }
            responses.insert(status.to_string(), response);
        }
        for (status, description, content) in self.answers {
            responses.insert(status.to_string(), json!({ "description": description, "content": content.document() }));
        }
        Value::Object(responses)
    }
}

impl Content {
    fn document(self) -> Value {
        let schema = |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
        let text = json!({ "schema": { "type": "string" } });
        match self {
            Self::Status => json!({ "application/json": schema("ConnectionStatus") }),
            Self::Stream => json!({ "text/event-stream": text }),
            Self::Code => json!({
                "text/plain": text,
                "image/png": { "schema": { "contentMediaType": "image/png" } },
                "image/svg+xml": text,
                "application/json": schema("QrCode"),
            }),
            Self::Health => json!({
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["store"],
                        "properties": {
                            "store": { "enum": ["ok", "away", "read-only", "not-delivering"] },
                            "draining": { "const": true },
                        },
                    },
                },
            }),
            Self::Text => json!({ "text/plain": text }),
            Self::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Answers of addresses that the document does not describe.
    const ELSEWHERE: [Code; 5] =
        [Code::NotFound, Code::MethodNotAllowed, Code::SignInRefused, Code::ScopeMissing, Code::SessionBusy];

    #[test]
    fn every_problem_code_is_an_answer_of_some_operation() {
        let documented: HashSet<&str> =
            OPERATIONS.iter().flat_map(Operation::codes).chain(ELSEWHERE).map(Code::as_str).collect();
        let missing: Vec<&str> =
            Code::ALL.iter().map(|code| code.as_str()).filter(|code| !documented.contains(code)).collect();
        assert_eq!(missing, [] as [&str; 0]);
    }

    #[test]
    fn every_reference_leads_to_something() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(path) = fields.get("$ref").and_then(Value::as_str) {
                        assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path}");
                    }
                    fields.values().for_each(|value| check(value, document));
                }
                Value::Array(values) => values.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document = document(&Settings::default());
        check(&document, &document);
    }
}
