use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::stanza::error;

/// Why the server turns a client away at login. On the wire each is a `<failure reason="…"/>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// 401: the device is not, or no longer, linked.
    LoggedOut,
    /// 402: the account is banned; for so many seconds, if the server says.
    Banned { expire_seconds: Option<u64> },
    /// 403: the account is locked.
    Locked,
    /// 405: the client's version is too old.
    Outdated,
    /// 429: too many logins.
    RateLimited,
    /// 503: the server is busy.
    Unavailable,
}

impl Refusal {
    fn reason(self) -> u16 {
        match self {
            Self::LoggedOut => 401,
            Self::Banned { .. } => 402,
            Self::Locked => 403,
            Self::Outdated => 405,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }

    pub(crate) fn stanza(self) -> Node {
        let mut failure = NodeBuilder::new("failure").attr("reason", self.reason().to_string()).attr("location", "sim");
        if let Self::Banned { expire_seconds: Some(seconds) } = self {
            // 101: sent to too many people.
            failure = failure.attr("code", "101").attr("expire", seconds.to_string());
        }
        failure.build()
    }
}

/// Why the server gives no ref for a pairing code. The pairs of number and word are those that WhatsApp Web knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeRefusal {
    /// 400: malformed, and also the server's limit per number.
    BadRequest,
    Forbidden,
    /// 429: too many requests on this connection.
    RateLimited,
    /// 452: this account cannot be linked by number.
    NotAvailable,
    Internal,
}

impl CodeRefusal {
    /// The answer to the `<iq>` that is refused.
    pub(crate) fn to(self, iq: &Node) -> Node {
        let (code, text) = match self {
            Self::BadRequest => (400, "bad-request"),
            Self::Forbidden => (403, "forbidden"),
            Self::RateLimited => (429, "rate-overlimit"),
            Self::NotAvailable => (452, "feature-not-available"),
            Self::Internal => (500, "internal-server-error"),
        };
        error(iq, code, text)
    }
}
