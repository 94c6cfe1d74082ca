//! Linking by a code: the server's part of `link_code_companion_reg`, and the cryptography of the phone's.
//!
//! The client makes the code. Client and phone each send a fresh public key locked with it, through a server that never
//! learns it; what they agree on opens the client's key bundle only if both locked with the same code. The functions here
//! are written from the protocol and share none with the client library, so that each side checks the other.

use std::num::NonZeroU32;

use aes::cipher::{KeyIvInit, StreamCipher};
use hkdf::Hkdf;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::pbkdf2;
use sha2::Sha256;
use tokio::sync::oneshot;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::connection::Connection;
use crate::refusal::CodeRefusal;
use crate::stanza::{attr, bytes, fresh_id, notification, result};
use crate::world::Registrant;

pub(crate) const LOCKED_BYTES: usize = 80;

const TAG: &str = "link_code_companion_reg";
const REFERENCE: &str = "link_code_pairing_ref";
const ROUNDS: NonZeroU32 = NonZeroU32::new(131_072).expect("not 0");
const BUNDLE_INFO: &[u8] = b"link_code_pairing_key_bundle_encryption_key";

/// What the server keeps of a `companion_hello`.
#[derive(Clone)]
pub(crate) struct CodeRequest {
    pub(crate) connection: u64,
    pub(crate) registrant: Registrant,
    pub(crate) reference: Vec<u8>,
    /// The client's fresh key under its code.
    pub(crate) locked: [u8; LOCKED_BYTES],
    pub(crate) expired: bool,
}

impl CodeRequest {
    /// The withdrawal of the code, and to whom it goes.
    pub(crate) fn refresh(&self, by_hand: bool) -> (u64, Node) {
        let reference = leaf(REFERENCE, self.reference.clone());
        let mut refresh = NodeBuilder::new(TAG).attr("stage", "refresh_code").children([reference]);
        if by_hand {
            refresh = refresh.attr("force_manual_refresh", "true");
        }
        (self.connection, notification(TAG, refresh.build()))
    }
}

/// The phone's answer to a code, and where the client's goes.
pub(crate) struct PrimaryHello {
    pub(crate) reference: Vec<u8>,
    pub(crate) locked: [u8; LOCKED_BYTES],
    pub(crate) identity: [u8; 32],
    pub(crate) finished: oneshot::Sender<Finish>,
}

/// `companion_finish`.
pub(crate) struct Finish {
    pub(crate) bundle: Vec<u8>,
    pub(crate) identity: Vec<u8>,
}

impl PrimaryHello {
    pub(crate) fn notification(&self) -> Node {
        let hello = NodeBuilder::new(TAG).attr("stage", "primary_hello").children([
            leaf("link_code_pairing_wrapped_primary_ephemeral_pub", self.locked.to_vec()),
            leaf("primary_identity_pub", self.identity.to_vec()),
            leaf(REFERENCE, self.reference.clone()),
        ]);
        notification(TAG, hello.build())
    }
}

/// What a registering client is answered to its part of the linking.
pub(crate) fn answer(
    connection: &Connection,
    registrant: &Registrant,
    iq: &Node,
    code: &Node,
    hello: &mut Option<Box<PrimaryHello>>,
) -> Node {
    let answered = match attr(code, "stage").as_str() {
        "companion_hello" => granted(connection, registrant, code),
        "companion_finish" => match hello.take_if(|hello| hello.reference == child(code, REFERENCE)) {
            Some(hello) => {
                let bundle = child(code, "link_code_pairing_wrapped_key_bundle");
                let _ = hello.finished.send(Finish { bundle, identity: child(code, "companion_identity_public") });
                Ok(vec![])
            }
            None => Err(CodeRefusal::BadRequest),
        },
        _ => Err(CodeRefusal::BadRequest),
    };
    answered.map_or_else(|refusal| refusal.to(iq), |children| result(iq, children))
}

fn granted(connection: &Connection, registrant: &Registrant, code: &Node) -> Result<Vec<Node>, CodeRefusal> {
    let number = attr(code, "jid").strip_suffix("@s.whatsapp.net").and_then(|number| number.parse().ok());
    let locked = child(code, "link_code_pairing_wrapped_companion_ephemeral_pub").try_into();
    let names_itself = child(code, "companion_server_auth_key_pub") == registrant.noise;
    // "Chrome (Linux)": the real server takes no other form.
    let display = child(code, "companion_platform_display");
    let display_is_known = display.ends_with(b")") && display.windows(2).any(|two| two == b" (");
    connection.world.change(|state| {
        state.codes_requested += 1;
        if let Some(refusal) = state.code_refusal {
            return Err(refusal);
        }
        let (Some(number), Ok(locked), true, true) = (number, locked, names_itself, display_is_known) else {
            return Err(CodeRefusal::BadRequest);
        };
        if !state.accounts.contains_key(&number) {
            return Err(CodeRefusal::BadRequest);
        }
        let reference = fresh_id().into_bytes();
        let registrant = registrant.clone();
        let request =
            CodeRequest { connection: connection.id, registrant, reference: reference.clone(), locked, expired: false };
        state.codes.insert(number, request);
        let granted = NodeBuilder::new(TAG).attr("stage", "companion_hello").children([leaf(REFERENCE, reference)]);
        Ok(vec![granted.build()])
    })
}

/// `salt | iv | AES-256-CTR(key)`, the cipher's key drawn from the code. The same step locks and unlocks; nothing in it
/// tells a wrong code.
pub(crate) fn unlock(code: &str, locked: &[u8; LOCKED_BYTES]) -> [u8; 32] {
    let (salt, rest) = locked.split_first_chunk::<32>().expect("80 bytes");
    let (iv, sealed) = rest.split_first_chunk::<16>().expect("48 bytes");
    let mut key = <[u8; 32]>::try_from(sealed).expect("32 bytes");
    cipher(code, salt, iv, &mut key);
    key
}

pub(crate) fn lock(code: &str, mut key: [u8; 32]) -> [u8; LOCKED_BYTES] {
    let (salt, iv): ([u8; 32], [u8; 16]) = (rand::random(), rand::random());
    cipher(code, &salt, &iv, &mut key);
    let mut locked = [0; LOCKED_BYTES];
    locked[..32].copy_from_slice(&salt);
    locked[32..48].copy_from_slice(&iv);
    locked[48..].copy_from_slice(&key);
    locked
}

fn cipher(code: &str, salt: &[u8; 32], iv: &[u8; 16], data: &mut [u8; 32]) {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, code.as_bytes(), &mut key);
    ctr::Ctr128BE::<aes::Aes256>::new(&key.into(), &(*iv).into()).apply_keystream(data);
}

/// Both identities and the client's random, or `None` where the two sides did not lock with the same code.
pub(crate) struct Bundle {
    pub(crate) companion: [u8; 32],
    pub(crate) primary: [u8; 32],
    pub(crate) random: [u8; 32],
}

impl Bundle {
    /// `salt | iv | AES-256-GCM(companion | primary | random)`.
    pub(crate) fn open(agreed: &[u8], sealed: &[u8]) -> Option<Self> {
        let (salt, rest) = sealed.split_first_chunk::<32>()?;
        let (iv, sealed) = rest.split_first_chunk::<12>()?;
        let key = UnboundKey::new(&AES_256_GCM, &derive(Some(salt), agreed, BUNDLE_INFO)).ok()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*iv);
        let plain = LessSafeKey::new(key).open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let (companion, rest) = plain.split_first_chunk::<32>()?;
        let (primary, random) = rest.split_first_chunk::<32>()?;
        Some(Self { companion: *companion, primary: *primary, random: random.try_into().ok()? })
    }
}

/// The secret that takes the place of the one in a QR text.
pub(crate) fn adv_secret(ephemeral: &[u8], identity: &[u8], random: &[u8; 32]) -> [u8; 32] {
    derive(None, &[ephemeral, identity, random].concat(), b"adv_secret")
}

fn derive(salt: Option<&[u8]>, secret: &[u8], info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(salt, secret).expand(info, &mut key).expect("32 bytes are not too many");
    key
}

fn child(node: &Node, tag: &str) -> Vec<u8> {
    bytes(node.get_optional_child(tag))
}

fn leaf(tag: &'static str, content: Vec<u8>) -> Node {
    NodeBuilder::new(tag).bytes(content).build()
}
