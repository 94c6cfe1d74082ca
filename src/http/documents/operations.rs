use crate::http::error::Code;

/// Answers of every address.
const ANY: &[Code] = &[Code::BadRequest, Code::HeadersTooLarge];
/// And of the listener for browsers.
const PUBLIC: &[Code] = &[Code::BadHost];
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
    Code::WrongIssuer,
    Code::WrongAudience,
    Code::AmbiguousToken,
    Code::KeysUnavailable,
    Code::Internal,
    Code::StoreUnavailable,
];
/// And where it has to be a tenant's.
const USER: &[Code] = &[Code::BadTenant, Code::BadProxy, Code::TokenRevoked];
const BACK_END: &[Code] = &[Code::ScopeMissing];
/// Answers where a body is read.
const BODY: &[Code] = &[Code::BadJson, Code::RequestTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType];
/// And where it is a user's command.
const COMMAND: &[Code] = &[Code::OriginMissing, Code::OriginNotAllowed, Code::TenantChanged];

pub struct Operation {
    pub path: &'static str,
    pub method: &'static str,
    pub id: &'static str,
    pub summary: &'static str,
    /// The request's body; `None`: a read.
    pub body: Option<Body>,
    /// Answers that are no errors: status, description, content by media type.
    pub answers: &'static [(u16, &'static str, Content)],
    pub caller: Caller,
    codes: &'static [Code],
}

/// Who may send the request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Everybody.
    Anyone,
    /// A user, with the token of a tenant.
    User,
    /// The back end, on the listener of its own.
    BackEnd,
}

pub struct Body {
    pub schema: &'static str,
    pub required: bool,
}

#[derive(Clone, Copy)]
pub enum Content {
    /// JSON with this schema.
    Json(&'static str),
    Stream,
    Code,
    Text,
    Document,
}

impl Operation {
    /// Every problem that it may answer.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        let command = if self.body.is_some() { BODY } else { &[] };
        let of_caller: &[&[Code]] = match (self.caller, &self.body) {
            (Caller::Anyone, _) => &[PUBLIC],
            (Caller::User, None) => &[PUBLIC, TOKEN, USER],
            (Caller::User, Some(_)) => &[PUBLIC, TOKEN, USER, COMMAND],
            (Caller::BackEnd, _) => &[TOKEN, BACK_END],
        };
        [self.codes, ANY, command].into_iter().chain(of_caller.iter().copied()).flatten().copied()
    }
}

const COMMAND_ANSWERS: &[(u16, &str, Content)] = &[
    (200, "The status is what the command asks for.", Content::Json("ConnectionStatus")),
    (202, "Accepted: what comes of it arrives on the stream.", Content::Json("ConnectionStatus")),
];

/// Every operation of the documents, but no address of the page.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/api/whatsapp/connect",
        method: "post",
        id: "connect",
        summary: "Starts or resumes the session; repeating it starts no second one",
        body: Some(Body { schema: "Connect", required: false }),
        answers: COMMAND_ANSWERS,
        caller: Caller::User,
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
        caller: Caller::User,
        codes: &[],
    },
    Operation {
        path: "/api/whatsapp/disconnect",
        method: "delete",
        id: "disconnectByDelete",
        summary: "The same as POST",
        body: Some(Body { schema: "Disconnect", required: false }),
        answers: COMMAND_ANSWERS,
        caller: Caller::User,
        codes: &[],
    },
    Operation {
        path: "/api/whatsapp/passkey",
        method: "post",
        id: "answerPasskey",
        summary: "Answers the passkey step that WhatsApp asks of some accounts",
        body: Some(Body { schema: "PasskeyAnswer", required: true }),
        answers: COMMAND_ANSWERS,
        caller: Caller::User,
        codes: &[Code::BadPasskey, Code::PasskeyNotAsked, Code::TooManyCommands],
    },
    Operation {
        path: "/api/whatsapp/status",
        method: "get",
        id: "status",
        summary: "The status now; while the store is away the last known one, with `stale`",
        body: None,
        answers: &[(200, "The status now.", Content::Json("ConnectionStatus"))],
        caller: Caller::User,
        codes: &[Code::TooManyReads],
    },
    Operation {
        path: "/api/whatsapp/qr",
        method: "get",
        id: "qr",
        summary: "The current QR code, in the form that `Accept` names",
        body: None,
        answers: &[(200, "The code.", Content::Code)],
        caller: Caller::User,
        codes: &[Code::TooManyReads, Code::NoQr, Code::NotAcceptable],
    },
    Operation {
        path: "/api/whatsapp/events",
        method: "get",
        id: "events",
        summary: "The tenant's stream, which `/asyncapi.json` describes",
        body: None,
        answers: &[(200, "Events, for as long as the token is valid.", Content::Stream)],
        caller: Caller::User,
        codes: &[Code::TooManyStreams],
    },
    Operation {
        path: "/healthz",
        method: "get",
        id: "healthz",
        summary: "Whether the process is up",
        body: None,
        answers: &[(200, "It is.", Content::Text)],
        caller: Caller::Anyone,
        codes: &[],
    },
    Operation {
        path: "/readyz",
        method: "get",
        id: "readyz",
        summary: "Whether a balancer should send requests here",
        body: None,
        answers: &[(200, "It should.", Content::Json("Ready")), (503, "It should not.", Content::Json("Ready"))],
        caller: Caller::Anyone,
        codes: &[],
    },
    Operation {
        path: "/openapi.json",
        method: "get",
        id: "openapi",
        summary: "This document",
        body: None,
        answers: &[(200, "OpenAPI 3.1.", Content::Document)],
        caller: Caller::Anyone,
        codes: &[],
    },
    Operation {
        path: "/asyncapi.json",
        method: "get",
        id: "asyncapi",
        summary: "The stream's events",
        body: None,
        answers: &[(200, "AsyncAPI 3.0.", Content::Document)],
        caller: Caller::Anyone,
        codes: &[],
    },
    Operation {
        path: "/admin/status",
        method: "post",
        id: "adminStatus",
        summary: "The status of a tenant",
        body: Some(Body { schema: "AdminTenant", required: true }),
        answers: &[(200, "The status now.", Content::Json("ConnectionStatus"))],
        caller: Caller::BackEnd,
        codes: &[],
    },
    Operation {
        path: "/admin/streams/end",
        method: "post",
        id: "adminEndStreams",
        summary: "Revokes a tenant's tokens, which ends its streams",
        body: Some(Body { schema: "AdminTenant", required: true }),
        answers: &[(200, "The tokens are revoked.", Content::Json("StreamsEnded"))],
        caller: Caller::BackEnd,
        codes: &[],
    },
    Operation {
        path: "/admin/disconnect",
        method: "post",
        id: "adminDisconnect",
        summary: "Unlinks a tenant, or cancels its pairing",
        body: Some(Body { schema: "AdminTenant", required: true }),
        answers: COMMAND_ANSWERS,
        caller: Caller::BackEnd,
        codes: &[],
    },
    Operation {
        path: "/admin/erase",
        method: "post",
        id: "adminErase",
        summary: "Unlinks a tenant and removes everything of it",
        body: Some(Body { schema: "AdminTenant", required: true }),
        answers: &[(200, "It is done.", Content::Json("Erased"))],
        caller: Caller::BackEnd,
        codes: &[Code::SessionBusy],
    },
    Operation {
        path: "/admin/linked",
        method: "post",
        id: "adminLinked",
        summary: "The tenants that are linked, in pages",
        body: Some(Body { schema: "AdminLinked", required: false }),
        answers: &[(200, "A page of them.", Content::Json("LinkedTenants"))],
        caller: Caller::BackEnd,
        codes: &[],
    },
];
