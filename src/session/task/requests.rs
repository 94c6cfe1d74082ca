//! What the user asks of a link that is open.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::{Leave, Session};
use crate::{
    events::{PairRefusal, PairingId, PhoneNumber, Status},
    session::{Link, Request, Signal, answer::Answer, machine},
    store::StoreError,
};

/// A code that was asked for so long ago will not come: the request got lost.
const CODE_COMES_WITHIN: Duration = Duration::from_secs(60);

impl Session {
    /// What was said to another link, or before WhatsApp went on, answers nothing any more. Nor does what is said again,
    /// such as by a second click: WhatsApp would take it for a wrong answer and end the pairing.
    pub(super) async fn pass_on(&mut self, answer: Answer, link: &mut dyn Link) {
        let Status::Connecting { passkey: Some(asked), .. } = self.teller.status() else { return };
        let Some(answer) = answer.to(asked) else { return };
        if self.answered.as_ref().is_some_and(|answered| answered.is_same_question(asked)) {
            return;
        }
        self.answered = Some(asked.clone());
        if let Err(error) = link.tell(Request::Passkey(answer)).await {
            warn!(tenant = %self.lease.tenant(), %error, "what the user said could not be passed on");
        }
    }

    /// What other instances were told for this one. The store is asked only while WhatsApp waits for an answer: nothing
    /// else is ever said there.
    pub(super) async fn pass_on_from_elsewhere(&mut self, link: &mut dyn Link) -> Result<(), StoreError> {
        let Status::Connecting { passkey: Some(_), .. } = self.teller.status() else { return Ok(()) };
        for words in self.around.stores.roster.said(&self.lease).await? {
            if let Some(answer) = Answer::of_words(&words) {
                self.pass_on(answer, link).await;
            }
        }
        Ok(())
    }

    /// Asking twice for a code that lives changes nothing: it may be half typed. Nor for one that is on its way: each request
    /// rings on the phone.
    pub(super) async fn offer_pair_code(
        &mut self,
        phone: PhoneNumber,
        asked_again: bool,
        link: &mut dyn Link,
    ) -> ControlFlow<Leave> {
        let other = self.phone.replace(phone.clone()) != Some(phone);
        if let Status::QrPending { pair, .. } = self.teller.status() {
            let alive = pair.as_ref().is_some_and(|pair| pair.is_alive(self.around.clock.now()));
            if other || (asked_again && !alive && !self.code_is_coming()) {
                return self.request_pair_code(link).await;
            }
        }
        ControlFlow::Continue(())
    }

    pub(super) fn code_is_coming(&self) -> bool {
        self.code_asked_at.is_some_and(|asked_at| asked_at.elapsed() < CODE_COMES_WITHIN)
    }

    pub(super) async fn request_pair_code(&mut self, link: &mut dyn Link) -> ControlFlow<Leave> {
        let Some(phone) = self.phone.clone() else { return ControlFlow::Continue(()) };
        let tenant = self.lease.tenant();
        let reason = match self.around.stores.roster.count_code(&phone).await {
            Ok(true) => {
                self.code_asked_at = Some(Instant::now());
                if let Err(error) = link.tell(Request::PairCode(phone)).await {
                    warn!(tenant = %self.lease.tenant(), %error, "pairing code could not be asked for");
                }
                return ControlFlow::Continue(());
            }
            Ok(false) => {
                warn!(%tenant, "pairing code refused, too many were asked for its number");
                PairRefusal::RateLimited
            }
            Err(error) => {
                warn!(%tenant, %error, "pairing code not asked for, the store cannot count it");
                PairRefusal::Unanswered
            }
        };
        let refused = Signal::PairCodeRefused { phone, reason };
        let (now, fresh) = (self.around.clock.now(), PairingId::new(rand::random()));
        let Some(status) = machine::advance(self.teller.status(), &refused, now, fresh) else {
            return ControlFlow::Continue(());
        };
        let told = self.teller.tell(status).await;
        self.told(told)
    }
}
