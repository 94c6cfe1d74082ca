use std::time::Duration;

use wacore_libsignal::protocol::KeyPair;
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;
use waproto::whatsapp::cert_chain::NoiseCertificate;
use waproto::whatsapp::cert_chain::noise_certificate::Details;

use crate::stanza::unix_now;

/// The serial under which real clients know WhatsApp's root.
const ROOT_SERIAL: u32 = 0;
const INTERMEDIATE_SERIAL: u32 = 1;
const LEAF_SERIAL: u32 = 2;
const VALID_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// The server's Noise key with the chain that vouches for it: root → intermediate → leaf, each step really signed.
pub(crate) struct ServerKeys {
    root: KeyPair,
    noise: KeyPair,
    chain: Vec<u8>,
}

impl ServerKeys {
    pub(crate) fn generate() -> Self {
        let mut rng = rand::rng();
        let root = KeyPair::generate(&mut rng);
        let intermediate = KeyPair::generate(&mut rng);
        let noise = KeyPair::generate(&mut rng);
        let chain = wa::CertChain {
            intermediate: MessageField::some(certify(&intermediate, INTERMEDIATE_SERIAL, &root, ROOT_SERIAL)),
            leaf: MessageField::some(certify(&noise, LEAF_SERIAL, &intermediate, INTERMEDIATE_SERIAL)),
        };
        Self { root, noise, chain: chain.encode_to_vec() }
    }

    pub(crate) fn root_public(&self) -> [u8; 32] {
        raw(&self.root)
    }

    pub(crate) fn noise_private(&self) -> &[u8; 32] {
        self.noise.private_key.serialize()
    }

    pub(crate) fn noise_public(&self) -> [u8; 32] {
        raw(&self.noise)
    }

    pub(crate) fn chain(&self) -> &[u8] {
        &self.chain
    }
}

/// A public key as the protocol carries it, without libsignal's leading type byte.
pub(crate) fn raw(pair: &KeyPair) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(pair.public_key.public_key_bytes());
    key
}

fn certify(subject: &KeyPair, serial: u32, issuer: &KeyPair, issuer_serial: u32) -> NoiseCertificate {
    let now = unix_now();
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(raw(subject).to_vec()),
        not_before: Some(now.saturating_sub(3600)),
        not_after: Some(now + VALID_FOR.as_secs()),
    }
    .encode_to_vec();
    let signature = issuer.calculate_signature(&details, &mut rand::rng()).expect("a generated key signs");
    NoiseCertificate { details: Some(details), signature: Some(signature.to_vec()) }
}
