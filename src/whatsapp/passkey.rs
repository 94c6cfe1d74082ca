use std::sync::Arc;

use whatsapp_rust::{
    Client,
    passkey::{Assertion, PasskeyError},
};

use super::{
    inbox::{Inbox, InboxEvent},
    runtime::LinkRuntime,
};
use crate::session::PasskeyAnswer;

/// The passkey step of one link. Sends the user's answers; WhatsApp's answers come as events.
#[derive(Clone)]
pub(super) struct Passkeys {
    runtime: LinkRuntime,
    inbox: Inbox,
}

impl Passkeys {
    pub fn new(runtime: LinkRuntime, inbox: Inbox) -> Self {
        Self { runtime, inbox }
    }

    pub fn answer(&self, client: &Arc<Client>, answer: PasskeyAnswer) {
        let client = client.clone();
        match answer {
            PasskeyAnswer::Assertion { json, credential } => self.send(async move {
                let assertion = Assertion { assertion_json: json.into_bytes(), credential_id: credential };
                client.send_passkey_response(assertion).await
            }),
            PasskeyAnswer::Confirmed => self.confirm(&client),
        }
    }

    pub fn confirm(&self, client: &Arc<Client>) {
        let client = client.clone();
        self.send(async move { client.send_passkey_confirmation().await });
    }

    fn send(&self, sending: impl Future<Output = Result<(), PasskeyError>> + Send + 'static) {
        let inbox = self.inbox.clone();
        self.runtime.run(async move {
            // The error's text may hold what was sent.
            if sending.await.is_err() {
                inbox.push(InboxEvent::PasskeyRefused);
            }
        });
    }
}
