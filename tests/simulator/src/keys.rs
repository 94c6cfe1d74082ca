use std::collections::VecDeque;

use sha1::{Digest, Sha1};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_libsignal::protocol as signal;
use waproto::whatsapp::client_payload::DevicePairingRegistrationData;

use crate::stanza::bytes;

const SIGNAL_TYPE: u8 = 5;

/// A public key under its 24-bit number.
#[derive(Clone)]
pub(crate) struct NumberedKey {
    pub(crate) id: u32,
    pub(crate) value: Vec<u8>,
}

/// What the server keeps of a device so that others can write to it while it sleeps.
///
/// Invariant: a one-time key leaves the list when it is handed out and never comes back; a client that sees one used by
/// two senders can decrypt neither.
pub(crate) struct KeyDirectory {
    lasting: LastingKeys,
    one_time: VecDeque<NumberedKey>,
}

/// The part of a device's keys that everybody gets the same.
#[derive(Clone)]
pub(crate) struct LastingKeys {
    pub(crate) registration_id: u32,
    pub(crate) identity: Vec<u8>,
    pub(crate) signed: NumberedKey,
    pub(crate) signature: Vec<u8>,
}

impl KeyDirectory {
    /// The keys a device brings along when it registers: enough to be written to at once, and no one-time keys yet.
    pub(crate) fn from_registration(data: &DevicePairingRegistrationData) -> Self {
        let signed = NumberedKey {
            id: number(data.e_skey_id.as_deref()),
            value: data.e_skey_val.clone().unwrap_or_default(),
        };
        Self::new(LastingKeys {
            registration_id: number(data.e_regid.as_deref()),
            identity: data.e_ident.clone().unwrap_or_default(),
            signed,
            signature: data.e_skey_sig.clone().unwrap_or_default(),
        })
    }

    pub(crate) fn new(lasting: LastingKeys) -> Self {
        Self { lasting, one_time: VecDeque::new() }
    }

    pub(crate) fn identity(&self) -> &[u8] {
        &self.lasting.identity
    }

    /// Takes in an `<iq xmlns=encrypt type=set>`: an upload of one-time keys, a new signed key, or both.
    pub(crate) fn upload(&mut self, iq: &Node) {
        let source = iq.get_optional_child("rotate").unwrap_or(iq);
        if let Some(skey) = source.get_optional_child("skey") {
            self.lasting.signed = numbered(skey);
            self.lasting.signature = bytes(skey.get_optional_child("signature"));
        }
        if let Some(list) = iq.get_optional_child("list") {
            self.one_time.extend(list.get_children_by_tag("key").map(numbered));
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.one_time.len()
    }

    /// Hands a sender what it needs for a first message. Without one-time keys left, X3DH goes without.
    pub(crate) fn hand_out(&mut self) -> HandedOut {
        HandedOut { lasting: self.lasting.clone(), one_time: self.one_time.pop_front() }
    }

    /// The answer to `<digest/>`: what the server holds, and its SHA-1, so that the client can compare.
    pub(crate) fn digest(&self) -> Node {
        let mut hash = Sha1::new();
        hash.update(&self.lasting.identity);
        hash.update(&self.lasting.signed.value);
        hash.update(&self.lasting.signature);
        let ids: Vec<Node> = self
            .one_time
            .iter()
            .map(|key| {
                hash.update(&key.value);
                leaf("id", key.id.to_be_bytes()[1..].to_vec())
            })
            .collect();
        let mut children = self.lasting.nodes();
        children.push(NodeBuilder::new("list").children(ids).build());
        children.push(leaf("hash", hash.finalize().to_vec()));
        NodeBuilder::new("digest").children(children).build()
    }
}

impl LastingKeys {
    fn nodes(&self) -> Vec<Node> {
        let mut signed = key_children(&self.signed);
        signed.push(leaf("signature", self.signature.clone()));
        vec![
            leaf("registration", self.registration_id.to_be_bytes().to_vec()),
            leaf("type", vec![SIGNAL_TYPE]),
            leaf("identity", self.identity.clone()),
            NodeBuilder::new("skey").children(signed).build(),
        ]
    }
}

/// One sender's copy of a device's keys, with at most one one-time key.
pub(crate) struct HandedOut {
    lasting: LastingKeys,
    one_time: Option<NumberedKey>,
}

impl HandedOut {
    pub(crate) fn bundle(&self, device: u32) -> Result<signal::PreKeyBundle, signal::SignalProtocolError> {
        let LastingKeys { registration_id, identity, signed, signature } = &self.lasting;
        let one_time = match &self.one_time {
            Some(key) => Some((key.id.into(), signal::PublicKey::from_djb_public_key_bytes(&key.value)?)),
            None => None,
        };
        signal::PreKeyBundle::new(
            *registration_id,
            device.into(),
            one_time,
            signed.id.into(),
            signal::PublicKey::from_djb_public_key_bytes(&signed.value)?,
            signature.clone(),
            signal::IdentityKey::new(signal::PublicKey::from_djb_public_key_bytes(identity)?),
        )
    }

    /// The children of a `<user>` in the answer to a key fetch.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let mut children = self.lasting.nodes();
        if let Some(key) = &self.one_time {
            children.push(NodeBuilder::new("key").children(key_children(key)).build());
        }
        children
    }
}

fn numbered(node: &Node) -> NumberedKey {
    NumberedKey {
        id: number(Some(&bytes(node.get_optional_child("id")))),
        value: bytes(node.get_optional_child("value")),
    }
}

fn key_children(key: &NumberedKey) -> Vec<Node> {
    vec![leaf("id", key.id.to_be_bytes()[1..].to_vec()), leaf("value", key.value.clone())]
}

fn leaf(tag: &'static str, content: Vec<u8>) -> Node {
    NodeBuilder::new(tag).bytes(content).build()
}

fn number(big_endian: Option<&[u8]>) -> u32 {
    big_endian.unwrap_or_default().iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
