use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use whatsapp_rust::{Client, pair_code::PairCodeOptions};

use super::{
    inbox::{Inbox, InboxEvent},
    runtime::LinkRuntime,
};
use crate::events::{PairRefusal, PhoneNumber};

/// How long a request waits for the connection.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);

/// The pairing codes of one link: at most one is valid, beside the QR.
#[derive(Clone)]
pub(super) struct PairCodes {
    runtime: LinkRuntime,
    inbox: Inbox,
    phone: Arc<Mutex<Option<PhoneNumber>>>,
}

impl PairCodes {
    pub fn new(runtime: LinkRuntime, inbox: Inbox) -> Self {
        Self { runtime, inbox, phone: Arc::default() }
    }

    pub fn phone(&self) -> Option<PhoneNumber> {
        self.phone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests a code. It replaces the one before.
    pub fn ask(&self, client: &Arc<Client>, phone: PhoneNumber) {
        *self.phone.lock().unwrap_or_else(PoisonError::into_inner) = Some(phone.clone());
        let (client, inbox) = (client.clone(), self.inbox.clone());
        self.runtime.run(async move {
            if client.wait_for_socket(CONNECTION_DEADLINE).await.is_err() {
                return inbox.push(InboxEvent::CodeRefused(PairRefusal::Unanswered));
            }
            if client.pn().is_some() {
                // Linked meanwhile.
                return;
            }
            // Without this the library would keep a code of another number and report nothing.
            client.cancel_pair_code().await;
            let options = PairCodeOptions { phone_number: phone.into(), ..PairCodeOptions::default() };
            // The result comes as an event.
            let _ = client.pair_with_code(options).await;
        });
    }
}
