use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use wacore_libsignal::protocol::{KeyPair, PublicKey};

use crate::certificate::raw;
use crate::connection::Order;
use crate::device::DeviceId;
use crate::link_code::{Bundle, PrimaryHello, adv_secret, lock, unlock};
use crate::phone::{Phone, ScanError};

/// Without 0, I, O and U, which people mix up.
const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTVWXYZ";
const CODE_CHARACTERS: usize = 8;
/// How long the phone waits: as long as clients do for its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Error, PartialEq, Eq)]
pub enum CodeError {
    #[error("this is no code")]
    Malformed,
    #[error("no device has asked for a code of this number")]
    NotAsked,
    #[error("the code's time is up")]
    Expired,
    #[error("the device made another code")]
    Wrong,
    #[error("the device did not answer")]
    Unanswered,
    #[error(transparent)]
    Linking(#[from] ScanError),
}

impl Phone {
    /// "Link with phone number instead": enters the code that the device shows, with or without its dash. Returns once
    /// the device is linked, as [`Phone::scan`] does. A code that is wrong can be entered again.
    pub async fn enter_code(&self, code: &str) -> Result<DeviceId, CodeError> {
        let code = code.replace('-', "").to_uppercase();
        if code.len() != CODE_CHARACTERS || !code.chars().all(|c| ALPHABET.contains(c)) {
            return Err(CodeError::Malformed);
        }
        let request = {
            let state = self.world.read();
            self.ensure_allowed(&state)?;
            let request = state.codes.get(&self.number).ok_or(CodeError::NotAsked)?;
            if request.expired || !state.connections.contains_key(&request.connection) {
                return Err(CodeError::Expired);
            }
            request.clone()
        };
        let ephemeral = KeyPair::generate(&mut rand::rng());
        let public = raw(&ephemeral);
        let worked = spawn_blocking(move || (unlock(&code, &request.locked), lock(&code, public)));
        let (theirs, locked) = worked.await.map_err(|_| CodeError::Unanswered)?;

        let account = {
            let state = self.world.read();
            state.accounts.get(&self.number).ok_or(ScanError::Forbidden)?.identity.clone()
        };
        let (finished, finish) = oneshot::channel();
        let hello = PrimaryHello { reference: request.reference, locked, identity: raw(&account), finished };
        if !self.world.order(request.connection, Order::Hello(Box::new(hello))) {
            return Err(CodeError::Expired);
        }
        let finish = tokio::time::timeout(ANSWER_DEADLINE, finish);
        let finish = finish.await.map_err(|_| CodeError::Unanswered)?.map_err(|_| CodeError::Unanswered)?;

        // A wrong code shows only here: it decrypted to a public key without a known private key.
        let agreed = agree(&ephemeral, &theirs).ok_or(CodeError::Wrong)?;
        let bundle = Bundle::open(&agreed, &finish.bundle).ok_or(CodeError::Wrong)?;
        let identity = bundle.companion;
        let honest =
            finish.identity == identity && request.registrant.identity == identity && bundle.primary == raw(&account);
        if !honest {
            return Err(ScanError::WrongKeys.into());
        }
        let identities = agree(&account, &identity).ok_or(ScanError::WrongKeys)?;
        let secret = adv_secret(&agreed, &identities, &bundle.random);
        Ok(self.link(request.connection, identity, secret.to_vec()).await?)
    }
}

fn agree(ours: &KeyPair, theirs: &[u8; 32]) -> Option<[u8; 32]> {
    let theirs = PublicKey::from_djb_public_key_bytes(theirs).ok()?;
    ours.private_key.calculate_agreement(&theirs).ok()
}
