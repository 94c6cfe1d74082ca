use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    info,
    operations::{Body, Caller, Content, OPERATIONS, Operation},
    schemas, security_schemes,
};
use crate::http::Settings;

/// The requests and answers, as OpenAPI 3.1.
pub fn document(settings: &Settings) -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.document();
    }
    let (mut schemas, mut others) = (schemas::sent(), schemas::read());
    schemas.append(&mut others);
    let mut security_schemes = security_schemes(settings);
    security_schemes["admin"] = json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of your back end, whose claim `scope` names `whatsapp:admin`.",
    });
    let description = "Links a WhatsApp account for a tenant of a SaaS product. The tenant is the one that the token \
                       names. Ignore fields, reasons and codes that you do not know: later versions add some.";
    json!({
        "openapi": "3.1.0",
        "info": info("Tautan", description),
        "servers": [{ "url": settings.public_url.as_deref().unwrap_or("/") }],
        "tags": [
            { "name": "tenant", "description": "With a token of the tenant." },
            { "name": "admin", "description": "For your back end, on the listener of `TAUTAN_ADMIN_LISTEN`." },
            { "name": "service", "description": "Without a token." },
        ],
        "paths": paths,
        "webhooks": { "connection-status": { "post": webhook() } },
        "components": {
            "schemas": schemas,
            "securitySchemes": security_schemes,
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

/// What the service sends to the address of `TAUTAN_WEBHOOK_URL`.
fn webhook() -> Value {
    let header = |name: &str, description: &str| {
        json!({
            "name": name,
            "in": "header",
            "required": true,
            "description": description,
            "schema": { "type": "string" },
        })
    };
    let schema = json!({ "$ref": "#/components/schemas/Webhook" });
    json!({
        "operationId": "webhook",
        "summary": "A change of a tenant's status, sent to your back end",
        "tags": ["admin"],
        "security": [],
        "parameters": [
            header("webhook-id", "The same at every try of one status."),
            header("webhook-timestamp", "Seconds since 1970, when this try was sent."),
            header("webhook-signature", "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64."),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": {
            "2XX": { "description": "Delivered." },
            "410": { "description": "Nothing is sent for this tenant for a day." },
            "default": { "description": "Tried again until it is delivered." },
        },
    })
}

impl Operation {
    fn document(&self) -> Value {
        let mut document = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": self.responses(),
        });
        // An empty list says that none is needed.
        let (tag, security) = match self.caller {
            Caller::Anyone => ("service", json!([])),
            Caller::User => ("tenant", json!([{ "bearer": [] }, { "cookie": [] }])),
            Caller::BackEnd => ("admin", json!([{ "admin": [] }])),
        };
        (document["tags"], document["security"]) = (json!([tag]), security);
        if self.caller == Caller::BackEnd {
            document["servers"] = json!([{
                "url": "http://{listener}",
                "description": "On any instance, in your own network.",
                "variables": {
                    "listener": { "default": "127.0.0.1:8081", "description": "`TAUTAN_ADMIN_LISTEN`." },
                },
            }]);
        }
        let parameters: &[&str] = match (self.caller, &self.body) {
            (Caller::User, Some(_)) => &["IfTenant"],
            (Caller::User, None) if self.id == "events" => &["LastEventId", "LastEventIdInQuery"],
            _ => &[],
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
            Self::Json(name) => json!({ "application/json": schema(name) }),
            Self::Stream => json!({ "text/event-stream": text }),
            Self::Code => json!({
                "text/plain": text,
                "image/png": { "schema": { "contentMediaType": "image/png" } },
                "image/svg+xml": text,
                "application/json": schema("QrCode"),
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
    use crate::http::error::Code;

    /// Answers of addresses that the document does not describe.
    const ELSEWHERE: [Code; 3] = [Code::NotFound, Code::MethodNotAllowed, Code::SignInRefused];

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
