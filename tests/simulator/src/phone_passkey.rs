//! The step that WhatsApp asks some accounts for between the scan and the link: the owner proves itself with a passkey,
//! phone and device agree on a key and both show a code to compare, and the device sends its secret under that key.

use std::time::Duration;

use hkdf::Hkdf;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_libsignal::protocol::{KeyPair, PublicKey};
use waproto::buffa::{Enumeration, Message};
use waproto::whatsapp as wa;

use crate::certificate::raw;
use crate::connection::Order;
use crate::device::DeviceId;
use crate::passkey::{Challenge, Passkey};
use crate::phone::{Phone, ScanError};
use crate::refusal::CodeRefusal;
use crate::stanza::{bytes, fresh_id, notification};
use crate::world::Registrant;

/// What a client may ask for or send in this step.
pub(crate) const STEPS: [&str; 4] = ["ref", "passkey_prologue", "companion_nonce", "encrypted_pairing_request"];
/// A client waits for each answer before it goes on.
const STEPS_MAX: usize = 4;
/// From the server to the phone and back. whatsapp-rust 0.7.0 fails where the phone's part follows the server's answer at
/// once: it remembers its session, and at the end its new secret, only after it has read the answer.
const ROUND_TRIP: Duration = Duration::from_millis(100);
const CODE_ALPHABET: &[u8; 32] = b"123456789ABCDEFGHJKLMNPQRSTVWXYZ";

/// A step of the client's, and where the answer goes.
pub(crate) struct Step {
    pub(crate) child: Node,
    pub(crate) answer: oneshot::Sender<Result<Vec<Node>, CodeRefusal>>,
}

impl Phone {
    /// From now on WhatsApp links this account only to a device for which its owner shows this passkey.
    pub fn asks_for_passkey(&self) -> Passkey {
        let passkey = Passkey::generate();
        self.world.change(|state| {
            if let Some(account) = state.accounts.get_mut(&self.number) {
                account.passkey = Some(passkey.clone());
            }
        });
        passkey
    }

    /// The code that the phone shows, to be compared with the device's.
    pub fn passkey_code(&self) -> Option<String> {
        self.world.read().accounts.get(&self.number)?.passkey_code.clone()
    }

    pub(crate) async fn link_with_passkey(
        &self,
        connection: u64,
        registrant: Registrant,
        passkey: Passkey,
    ) -> Result<DeviceId, ScanError> {
        let (steps, mut client) = mpsc::channel(STEPS_MAX);
        let challenge = passkey.challenge();
        let options = NodeBuilder::new("passkey_request_options").string_content(challenge.options()).build();
        let request = notification("passkey_prologue_request", options);
        let reached =
            self.world.order(connection, Order::Relay(steps)) && self.world.order(connection, Order::Send(request));
        if !reached {
            return Err(ScanError::Gone);
        }
        let mut rite = Rite {
            passkey,
            challenge,
            reference: fresh_id(),
            ephemeral: KeyPair::generate(&mut rand::rng()),
            nonce: rand::random(),
            prologue: None,
        };
        while let Some(Step { child, answer }) = client.recv().await {
            let (answered, next) = rite.handle(&child);
            let _ = answer.send(answered);
            match next {
                Next::Wait => {}
                Next::Send(stanza) => {
                    tokio::time::sleep(ROUND_TRIP).await;
                    self.world.order(connection, Order::Send(stanza));
                }
                Next::Show(code) => self.world.change(|state| {
                    if let Some(account) = state.accounts.get_mut(&self.number) {
                        account.passkey_code = Some(code);
                    }
                }),
                Next::Link(request) => {
                    let identity = request.companion_identity_key.unwrap_or_default();
                    if request.companion_public_key.as_deref() != Some(&registrant.noise[..])
                        || identity != registrant.identity
                    {
                        return Err(ScanError::WrongKeys);
                    }
                    let identity = identity.try_into().map_err(|_| ScanError::WrongKeys)?;
                    tokio::time::sleep(ROUND_TRIP).await;
                    return self.link(connection, identity, request.adv_secret.unwrap_or_default()).await;
                }
                Next::Refuse => return Err(ScanError::PasskeyRefused),
            }
        }
        Err(ScanError::Gone)
    }
}

struct Rite {
    passkey: Passkey,
    challenge: Challenge,
    reference: String,
    ephemeral: KeyPair,
    nonce: [u8; 32],
    prologue: Option<Prologue>,
}

struct Prologue {
    identity: Vec<u8>,
    public: [u8; 32],
    device_type: i32,
    commitment: Vec<u8>,
}

enum Next {
    Wait,
    Send(Node),
    Show(String),
    Link(wa::PairingRequest),
    Refuse,
}

impl Rite {
    fn handle(&mut self, step: &Node) -> (Result<Vec<Node>, CodeRefusal>, Next) {
        let heard = match &*step.tag {
            "ref" => {
                let reference = NodeBuilder::new("ref").string_content(self.reference.clone()).build();
                return (Ok(vec![reference]), Next::Wait);
            }
            "passkey_prologue" => self.prologue(step),
            "companion_nonce" => self.code(&bytes(Some(step))).map(Next::Show),
            "encrypted_pairing_request" => self.open(&bytes(Some(step))).map(Next::Link),
            _ => None,
        };
        match heard {
            Some(next) => (Ok(vec![]), next),
            None => (Err(CodeRefusal::BadRequest), Next::Refuse),
        }
    }

    fn prologue(&mut self, step: &Node) -> Option<Next> {
        let child = |tag| bytes(step.get_optional_child(tag));
        if !self.passkey.answers(&self.challenge, &child("credential_id"), &child("webauthn_assertion")) {
            return None;
        }
        let payload = wa::ProloguePayload::decode_from_slice(&child("prologue_payload")).ok()?;
        let identity = payload.companion_ephemeral_identity?;
        let named = wa::CompanionEphemeralIdentity::decode_from_slice(&identity).ok()?;
        if named.r#ref.as_ref() != Some(&self.reference) {
            return None;
        }
        self.prologue = Some(Prologue {
            public: named.public_key?.try_into().ok()?,
            device_type: named.device_type?.to_i32(),
            commitment: payload.commitment.into_option()?.hash?,
            identity,
        });
        let ours = wa::PrimaryEphemeralIdentity {
            public_key: Some(raw(&self.ephemeral).to_vec()),
            nonce: Some(self.nonce.to_vec()),
        };
        let ours = NodeBuilder::new("primary_ephemeral_identity").bytes(ours.encode_to_vec()).build();
        Some(Next::Send(notification("crsc_continuation", ours)))
    }

    /// The device committed to its nonce before it knew ours, so neither side can choose the code.
    fn code(&self, nonce: &[u8]) -> Option<String> {
        let prologue = self.prologue.as_ref()?;
        let committed = Sha256::digest([&prologue.identity[..], nonce].concat());
        if committed[..] != prologue.commitment[..] {
            return None;
        }
        let digest = Sha256::digest([nonce, &raw(&self.ephemeral)].concat());
        let bits = (0..5).fold(0_u64, |bits, at| bits << 8 | u64::from(digest[at] ^ self.nonce[at]));
        let character = |at: u32| char::from(CODE_ALPHABET[(bits >> (5 * at) & 31) as usize]);
        let code: String = (0..8).rev().map(character).collect();
        Some(format!("{}-{}", &code[..4], &code[4..]))
    }

    fn open(&self, sealed: &[u8]) -> Option<wa::PairingRequest> {
        let prologue = self.prologue.as_ref()?;
        let sealed = wa::EncryptedPairingRequest::decode_from_slice(sealed).ok()?;
        let theirs = PublicKey::from_djb_public_key_bytes(&prologue.public).ok()?;
        let agreed = self.ephemeral.private_key.calculate_agreement(&theirs).ok()?;
        let salt = format!("Companion Pairing {} with ref {}", prologue.device_type, self.reference);
        let mut key = [0; 32];
        let derived = Hkdf::<Sha256>::new(Some(salt.as_bytes()), &agreed);
        derived.expand(b"Pairing Information Encryption Key", &mut key).expect("32 bytes are not too many");
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
        let mut plain = sealed.encrypted_payload?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed.iv?).ok()?;
        wa::PairingRequest::decode_from_slice(key.open_in_place(nonce, Aad::empty(), &mut plain).ok()?).ok()
    }
}
