//! What the user asks of a link that is open.

use tracing::warn;

use super::Session;
use crate::{
    events::{PhoneNumber, Status},
    session::{Link, Request, answer::Answer},
    store::StoreError,
};

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

    /// Asking twice for a code that lives changes nothing: it may be half typed.
    pub(super) async fn offer_pair_code(&mut self, phone: PhoneNumber, asked_again: bool, link: &mut dyn Link) {
        let other = self.phone.replace(phone.clone()) != Some(phone);
        if let Status::QrPending { pair, .. } = self.teller.status() {
            let alive = pair.as_ref().is_some_and(|pair| pair.is_alive(self.around.clock.now()));
            if other || (asked_again && !alive) {
                self.request_pair_code(link).await;
            }
        }
    }

    pub(super) async fn request_pair_code(&mut self, link: &mut dyn Link) {
        let Some(phone) = self.phone.clone() else { return };
        if let Err(error) = link.tell(Request::PairCode(phone)).await {
            warn!(tenant = %self.lease.tenant(), %error, "pairing code could not be asked for");
        }
    }
}
