use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::adv::{Corruption, Statement};
use crate::connection::Order;
use crate::device::DeviceId;
use crate::faults::Fault;
use crate::message;
use crate::pairing::Ceremony;
use crate::refusal::Refusal;
use crate::stanza::stream_error;
use crate::world::{Registrant, State, World};

/// What some clients put before the QR text, for the phone's own camera.
const DEEP_LINK: &str = "https://wa.me/settings/linked_devices#";

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScanError {
    #[error("this is no QR text of ours")]
    Malformed,
    #[error("the ref was never handed out")]
    Unknown,
    #[error("the ref's connection is gone")]
    Expired,
    #[error("the ref was used before")]
    Spent,
    #[error("the QR text names other keys than its connection")]
    WrongKeys,
    #[error("the passkey was not the account's, or what followed it was wrong")]
    PasskeyRefused,
    #[error("the account may not link devices")]
    Forbidden,
    #[error("the device refused: {0}")]
    Refused(String),
    #[error("the device's signature is wrong")]
    BadDeviceSignature,
    #[error("the device went away in the middle")]
    Gone,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum TextError {
    #[error("no such device is linked")]
    Unlinked,
    #[error("the device's published keys are unusable")]
    BadKeys,
    #[error("the device could not decrypt it")]
    Undecryptable,
    #[error("the device rejected it with {0}")]
    Rejected(String),
    #[error("the simulator is shutting down")]
    Stopped,
}

/// A phone with its account.
#[derive(Clone)]
pub struct Phone {
    pub(crate) world: Arc<World>,
    pub(crate) number: u64,
}

impl Phone {
    pub(crate) fn new(world: Arc<World>, number: u64) -> Self {
        Self { world, number }
    }

    pub fn number(&self) -> String {
        self.number.to_string()
    }

    /// Holds the QR text before the camera. Returns once the device is linked: its countersignature has been checked,
    /// and it is in [`Phone::devices`]. Whether it ever logs in is another matter.
    pub async fn scan(&self, qr_text: &str) -> Result<DeviceId, ScanError> {
        let qr = QrText::parse(qr_text).ok_or(ScanError::Malformed)?;
        let (connection, registrant, passkey) = self.world.change(|state| {
            self.ensure_allowed(state)?;
            let passkey = state.accounts.get(&self.number).and_then(|account| account.passkey.clone());
            let known = state.refs.get_mut(&qr.reference).ok_or(ScanError::Unknown)?;
            if known.spent {
                return Err(ScanError::Spent);
            }
            if !state.connections.contains_key(&known.connection) {
                return Err(ScanError::Expired);
            }
            let Registrant { noise, identity } = &known.registrant;
            if *noise != qr.noise || *identity != qr.identity {
                return Err(ScanError::WrongKeys);
            }
            known.spent = true;
            Ok((known.connection, known.registrant.clone(), passkey))
        })?;
        match passkey {
            Some(passkey) => self.link_with_passkey(connection, registrant, passkey).await,
            None => self.link(connection, qr.identity, qr.adv_secret).await,
        }
    }

    pub(crate) fn ensure_allowed(&self, state: &State) -> Result<(), ScanError> {
        let account = state.accounts.get(&self.number).ok_or(ScanError::Forbidden)?;
        if account.refusal.is_some() { Err(ScanError::Forbidden) } else { Ok(()) }
    }

    /// Vouches for the device that registers on this connection, under the secret it shared with the phone.
    pub(crate) async fn link(
        &self,
        connection: u64,
        identity: [u8; 32],
        adv_secret: Vec<u8>,
    ) -> Result<DeviceId, ScanError> {
        let faults = &self.world.faults;
        let (outcome, linked) = oneshot::channel();
        let ceremony = self.world.change(|state| {
            let account = state.accounts.get_mut(&self.number).ok_or(ScanError::Forbidden)?;
            account.last_index += 1;
            let corruption = Corruption {
                hmac: faults.strike(Fault::CorruptHmac),
                signature: faults.strike(Fault::CorruptSignature),
            };
            Ok(Ceremony {
                device: DeviceId::new(self.number, account.last_index),
                business_name: account.name.clone(),
                statement: Statement::make(&account.identity, identity, account.last_index, corruption),
                adv_secret,
                corruption,
                outcome,
                request_id: Ceremony::request_id(),
            })
        })?;
        if !self.world.order(connection, Order::Pair(Box::new(ceremony))) {
            return Err(ScanError::Gone);
        }
        linked.await.unwrap_or(Err(ScanError::Gone))
    }

    /// The list of linked devices, as the phone shows it.
    pub fn devices(&self) -> Vec<DeviceId> {
        let state = self.world.read();
        let devices = state.accounts.get(&self.number).map(|account| &account.devices);
        let linked = devices.into_iter().flatten().filter(|(_, device)| device.linked);
        linked.map(|(index, _)| DeviceId::new(self.number, *index)).collect()
    }

    /// The name of a linked device in that list.
    pub fn name_of(&self, device: DeviceId) -> Option<String> {
        Some(self.world.read().device(device)?.name.clone())
    }

    /// "Log out" in the list of linked devices; false if the device is not in it.
    pub fn unlink(&self, device: DeviceId) -> bool {
        let mine = device.number() == self.number;
        let connections = self.world.read().device(device).map(|device| device.live.clone()).unwrap_or_default();
        if !mine || !self.world.change(|state| state.unlink(device)) {
            return false;
        }
        for connection in connections {
            self.world.order(connection, Order::End(stream_error(Some(401), Some("device_removed"))));
        }
        true
    }

    /// Sends an end-to-end encrypted text and waits until the device has read it, which may be after its next login. To
    /// a device of its own account a phone writes as one does to oneself.
    pub async fn send_text(&self, device: DeviceId, text: &str) -> Result<(), TextError> {
        let read = message::post_text(&self.world, self.number, device, text).await?;
        let outcome = read.await.unwrap_or(Err(TextError::Stopped));
        if outcome == Err(TextError::Undecryptable) {
            message::forget_session(&self.world, self.number, device).await;
        }
        outcome
    }

    /// Offers the chat history, as a phone does to a device that it has just linked, and waits until the device has
    /// read the offer.
    pub async fn offer_history(&self, device: DeviceId) -> Result<(), TextError> {
        let read = message::offer_history(&self.world, device).await?;
        read.await.unwrap_or(Err(TextError::Stopped))
    }

    /// Every login of the account is refused from now on, and its live sockets are cut so that they notice. The list of
    /// devices stays.
    pub fn refuse(&self, refusal: Refusal) {
        self.world.change(|state| {
            if let Some(account) = state.accounts.get_mut(&self.number) {
                account.refusal = Some(refusal);
            }
        });
        for device in self.devices() {
            self.world.order_device(device, || Order::Cut);
        }
    }

    /// Takes [`Phone::refuse`] back.
    pub fn accept(&self) {
        self.world.change(|state| {
            if let Some(account) = state.accounts.get_mut(&self.number) {
                account.refusal = None;
            }
        });
    }
}

struct QrText {
    reference: String,
    noise: [u8; 32],
    identity: [u8; 32],
    adv_secret: Vec<u8>,
}

impl QrText {
    /// `ref,noise,identity,secret[,client type]`, keys in base64.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.strip_prefix(DEEP_LINK).unwrap_or(text).split(',');
        let reference = fields.next().filter(|reference| !reference.is_empty())?.to_owned();
        let mut key = || STANDARD.decode(fields.next()?).ok();
        let (noise, identity, adv_secret) = (key()?, key()?, key()?);
        Some(Self { reference, noise: noise.try_into().ok()?, identity: identity.try_into().ok()?, adv_secret })
    }
}
