use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use whatsapp_rust::{Client, pair_code::PairCodeOptions};

use super::{
    inbox::{Inbox, InboxEvent},
    runtime::LinkRuntime,
};
use crate::events::{PairRefusal, PhoneNumber};

/// How many codes are requested for one request of the user, the first included. WhatsApp would refuse more.
const REQUESTS_MAX: u32 = 3;

/// How long a request waits for the connection.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);

/// The pairing codes of one link: at most one is valid, beside the QR.
#[derive(Clone)]
pub(super) struct PairCodes {
    runtime: LinkRuntime,
    inbox: Inbox,
    phone: Arc<Mutex<Option<PhoneNumber>>>,
    requests: Arc<AtomicU32>,
}

impl PairCodes {
    pub fn new(runtime: LinkRuntime, inbox: Inbox) -> Self {
        Self { runtime, inbox, phone: Arc::default(), requests: Arc::default() }
    }

    pub fn phone(&self) -> Option<PhoneNumber> {
        self.phone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The user requests a code: the count starts again.
    pub fn ask(&self, client: &Arc<Client>, phone: PhoneNumber) {
        *self.phone.lock().unwrap_or_else(PoisonError::into_inner) = Some(phone);
        self.requests.store(0, Ordering::Relaxed);
        self.ask_again(client);
    }

    /// Requests another code, since the one shown is void.
    pub fn ask_again(&self, client: &Arc<Client>) {
        let (Some(phone), true) = (self.phone(), self.requests.fetch_add(1, Ordering::Relaxed) < REQUESTS_MAX) else {
            return self.inbox.push(InboxEvent::CodeRefused(PairRefusal::TriesUsedUp));
        };
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
