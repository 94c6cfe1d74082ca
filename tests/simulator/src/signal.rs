//! The phone's end of end-to-end encryption: it writes to linked devices.

use std::collections::HashMap;

use async_trait::async_trait;
use rand::rngs::StdRng;
use wacore_libsignal::protocol::error::Result;
use wacore_libsignal::protocol::{
    CiphertextMessage, Direction, IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore, KeyPair,
    ProtocolAddress, SessionRecord, SessionStore, UsePQRatchet, message_encrypt, process_prekey_bundle,
};
use waproto::buffa::Message as _;
use waproto::whatsapp as wa;

use crate::device::DeviceId;
use crate::keys::HandedOut;

/// A message under the receiver's keys, with the word the `<enc>` stanza has for its kind.
pub(crate) struct Sealed {
    pub(crate) kind: &'static str,
    pub(crate) ciphertext: Vec<u8>,
}

/// A phone's sessions with the devices it writes to.
pub(crate) struct Sessions {
    identity: Identity,
    records: Records,
}

impl Sessions {
    pub(crate) fn new(identity: &KeyPair, registration_id: u32) -> Self {
        let pair = IdentityKeyPair::from(identity.clone());
        Self { identity: Identity { pair, registration_id }, records: Records(HashMap::new()) }
    }

    pub(crate) fn has(&self, device: DeviceId) -> bool {
        self.records.0.contains_key(&address(device))
    }

    pub(crate) fn forget(&mut self, device: DeviceId) {
        self.records.0.remove(&address(device));
    }

    /// Opens a session from the receiver's published keys (X3DH).
    pub(crate) async fn open(&mut self, device: DeviceId, keys: &HandedOut) -> Result<()> {
        let bundle = keys.bundle(u32::from(device.index()))?;
        let mut rng: StdRng = rand::make_rng();
        let Self { identity, records } = self;
        process_prekey_bundle(&address(device), records, identity, &bundle, &mut rng, UsePQRatchet::No).await?;
        Ok(())
    }

    pub(crate) async fn seal(&mut self, device: DeviceId, message: &wa::Message) -> Result<Sealed> {
        let plaintext = pad(message.encode_to_vec());
        let sealed = message_encrypt(&plaintext, &address(device), &mut self.records, &mut self.identity).await?;
        let kind = if matches!(sealed, CiphertextMessage::PreKeySignalMessage(_)) { "pkmsg" } else { "msg" };
        Ok(Sealed { kind, ciphertext: sealed.serialize().to_vec() })
    }
}

/// Hides the length: 1 to 15 bytes, each of which says how many they are.
fn pad(mut plaintext: Vec<u8>) -> Vec<u8> {
    let padding = rand::random_range(1..=15u8);
    plaintext.resize(plaintext.len() + usize::from(padding), padding);
    plaintext
}

fn address(device: DeviceId) -> ProtocolAddress {
    ProtocolAddress::new(&device.number().to_string(), u32::from(device.index()).into())
}

struct Identity {
    pair: IdentityKeyPair,
    registration_id: u32,
}

#[async_trait]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.pair.clone())
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(&mut self, _: &ProtocolAddress, _: &IdentityKey) -> Result<IdentityChange> {
        Ok(IdentityChange::NewOrUnchanged)
    }

    /// The phone read the device's identity with its camera, so it is trusted.
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, _: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(None)
    }
}

struct Records(HashMap<ProtocolAddress, SessionRecord>);

#[async_trait]
impl SessionStore for Records {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.get(address).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> Result<bool> {
        Ok(self.0.contains_key(address))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        self.0.insert(address.clone(), record);
        Ok(())
    }
}
