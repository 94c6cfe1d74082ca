//! What the user asks of an open link: desired states, answers, pairing codes.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::{LinkExit, RETRY_AFTER, Session};
use crate::{
    events::{PairRefusal, PairingId, PhoneNumber, Status},
    session::{Link, Request, Signal, failures::log_retry, machine, owner_message::OwnerMessage},
    store::{DesiredState, StoreError},
    telemetry::{metrics, words::NUMBER_CODES},
};

/// A code that was requested longer ago will not come: the request was lost.
const CODE_COMES_WITHIN: Duration = Duration::from_secs(60);

/// How many codes are requested for one request of the user, the first included. WhatsApp would refuse more.
const CODES_MAX: u32 = 3;

impl Session {
    pub(super) async fn apply_desired_state(&mut self, link: &mut dyn Link) -> ControlFlow<LinkExit> {
        self.reread_at = None;
        for answer in self.mailbox.take_messages() {
            self.pass_on(answer, link).await;
        }
        let desired = match self.pass_on_from_elsewhere(link).await {
            Ok(()) => self.context.stores.commands.current(self.lease.tenant()).await,
            Err(error) => Err(error),
        };
        match desired {
            Ok(Some((no, DesiredState::Unlink))) => {
                self.desired = no;
                ControlFlow::Break(LinkExit::Unlink)
            }
            Ok(Some((no, DesiredState::Run { phone, options }))) => {
                let asked_again = no != self.desired;
                if asked_again {
                    self.desired = no;
                    self.windows = 1;
                }
                self.options = options;
                self.unless_refused()?;
                if self.is_to_reopen(asked_again) {
                    self.publisher.publish(self.resumed()).await;
                    return ControlFlow::Break(LinkExit::Reopen);
                }
                if let Some(phone) = phone {
                    return self.offer_pair_code(phone, asked_again, link).await;
                }
                ControlFlow::Continue(())
            }
            Ok(Some((_, DesiredState::Unknown(_))) | None) => ControlFlow::Continue(()),
            Err(StoreError::Fenced) => ControlFlow::Break(LinkExit::LeaseLost),
            Err(error) => {
                // The request is saved; only reading it failed.
                log_retry(self.lease.tenant(), &error, "desired state could not be read, retrying");
                self.reread_at = Some(Instant::now() + RETRY_AFTER);
                ControlFlow::Continue(())
            }
        }
    }

    /// Compares the account of a login with the one that the user expects, before anything shows it.
    pub(super) async fn check_account(&mut self, phone: &PhoneNumber, link: &mut dyn Link) -> ControlFlow<LinkExit> {
        if self.linked_as.is_none() {
            self.linked_as = Some(phone.clone());
            // A request that came during the scan may expect another account.
            self.apply_desired_state(link).await?;
        }
        // Also where the desired state could not be read now.
        self.unless_refused()
    }

    fn unless_refused(&self) -> ControlFlow<LinkExit> {
        match &self.linked_as {
            Some(phone) if self.options.refuses(phone) => ControlFlow::Break(LinkExit::OtherAccount),
            Some(_) | None => ControlFlow::Continue(()),
        }
    }

    /// Drops answers to another link's question, to an earlier question, and repeated answers such as a second click:
    /// WhatsApp would take them for wrong answers and end the pairing.
    pub(super) async fn pass_on(&mut self, answer: OwnerMessage, link: &mut dyn Link) {
        let Status::Connecting { passkey: Some(asked), .. } = self.publisher.status() else { return };
        let Some(answer) = answer.answer_to(asked) else { return };
        if self.answered.as_ref().is_some_and(|answered| answered.is_same_question(asked)) {
            return;
        }
        self.answered = Some(asked.clone());
        if let Err(error) = link.send(Request::Passkey(answer)).await {
            warn!(tenant = %self.lease.tenant(), %error, "passkey answer could not be sent");
        }
    }

    /// Takes messages that users sent through other instances. It asks the store only while WhatsApp waits for an
    /// answer: there are no other messages.
    pub(super) async fn pass_on_from_elsewhere(&mut self, link: &mut dyn Link) -> Result<(), StoreError> {
        let Status::Connecting { passkey: Some(_), .. } = self.publisher.status() else { return Ok(()) };
        for words in self.context.stores.commands.receive(&self.lease).await? {
            if let Some(answer) = OwnerMessage::from_bytes(&words) {
                self.pass_on(answer, link).await;
            }
        }
        Ok(())
    }

    /// A repeated request keeps a valid code, which may be half typed, and one that is on its way: each request alerts
    /// the phone.
    pub(super) async fn offer_pair_code(
        &mut self,
        phone: PhoneNumber,
        asked_again: bool,
        link: &mut dyn Link,
    ) -> ControlFlow<LinkExit> {
        let other = self.phone.replace(phone.clone()) != Some(phone);
        if let Status::QrPending { pair, .. } = self.publisher.status() {
            let alive = pair.as_ref().is_some_and(|pair| pair.is_alive(self.context.clock.now()));
            if other || (asked_again && !alive && !self.code_is_coming()) {
                return self.request_pair_code(link).await;
            }
        }
        ControlFlow::Continue(())
    }

    pub(super) fn code_is_coming(&self) -> bool {
        self.code_asked_at.is_some_and(|asked_at| asked_at.elapsed() < CODE_COMES_WITHIN)
    }

    pub(super) async fn request_pair_code(&mut self, link: &mut dyn Link) -> ControlFlow<LinkExit> {
        self.codes_requested = 0;
        self.request_another_code(link).await
    }

    /// The code that is shown is void.
    pub(super) async fn replace_pair_code(&mut self, link: &mut dyn Link) -> ControlFlow<LinkExit> {
        match self.phone.clone() {
            Some(phone) if self.codes_requested >= CODES_MAX => self.refuse_code(phone, PairRefusal::TriesUsedUp).await,
            Some(_) | None => self.request_another_code(link).await,
        }
    }

    async fn request_another_code(&mut self, link: &mut dyn Link) -> ControlFlow<LinkExit> {
        let Some(phone) = self.phone.clone() else { return ControlFlow::Continue(()) };
        self.codes_requested += 1;
        let tenant = self.lease.tenant();
        let reason = match self.context.stores.commands.count_code(&phone).await {
            Ok(true) => {
                self.code_asked_at = Some(Instant::now());
                if let Err(error) = link.send(Request::PairCode(phone)).await {
                    warn!(tenant = %self.lease.tenant(), %error, "pairing code could not be requested");
                }
                return ControlFlow::Continue(());
            }
            Ok(false) => {
                metrics().limits.add(NUMBER_CODES);
                warn!(%tenant, "pairing code refused, too many were requested for its number");
                PairRefusal::RateLimited
            }
            Err(error) => {
                warn!(%tenant, %error, "pairing code not requested, the store cannot count it");
                PairRefusal::Unanswered
            }
        };
        self.refuse_code(phone, reason).await
    }

    async fn refuse_code(&mut self, phone: PhoneNumber, reason: PairRefusal) -> ControlFlow<LinkExit> {
        let refused = Signal::PairCodeRefused { phone, reason };
        let (now, fresh) = (self.context.clock.now(), PairingId::new(rand::random()));
        let Some(status) = machine::advance(self.publisher.status(), &refused, now, fresh) else {
            return ControlFlow::Continue(());
        };
        // None is coming any more. A window that lasted for the code alone ends sooner now.
        self.code_asked_at = None;
        let outcome = self.publisher.publish(status).await;
        self.restart_time_limit();
        self.unless_fenced(outcome)
    }
}
