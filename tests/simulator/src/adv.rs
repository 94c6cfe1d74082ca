//! The signatures of a phone for a device, and of the device for itself (ADV).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wacore_libsignal::protocol::{KeyPair, PublicKey};
use waproto::buffa::Message;
use waproto::whatsapp as wa;

use crate::certificate::raw;
use crate::stanza::unix_now;

const ACCOUNT_SIGNATURE_PREFIX: [u8; 2] = [6, 0];
const DEVICE_SIGNATURE_PREFIX: [u8; 2] = [6, 1];

/// The invalid value that the phone must send.
#[derive(Clone, Copy, Default)]
pub(crate) struct Corruption {
    pub(crate) hmac: bool,
    pub(crate) signature: bool,
}

/// The phone's statement that a device belongs to its account, kept until the device has countersigned it.
pub(crate) struct Statement {
    details: Vec<u8>,
    signed: wa::ADVSignedDeviceIdentity,
    companion_identity: [u8; 32],
    account_public: [u8; 32],
}

impl Statement {
    pub(crate) fn make(account: &KeyPair, companion_identity: [u8; 32], key_index: u16, corrupt: Corruption) -> Self {
        let details = wa::ADVDeviceIdentity {
            raw_id: Some(rand::random()),
            timestamp: Some(unix_now()),
            key_index: Some(u32::from(key_index)),
            account_type: Some(wa::ADVEncryptionType::E2EE),
            device_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let message = [&ACCOUNT_SIGNATURE_PREFIX[..], &details, &companion_identity].concat();
        let mut signature =
            account.calculate_signature(&message, &mut rand::rng()).expect("a generated key signs").to_vec();
        if corrupt.signature {
            signature[0] ^= 1;
        }
        let account_public = raw(account);
        let signed = wa::ADVSignedDeviceIdentity {
            details: Some(details.clone()),
            account_signature_key: Some(account_public.to_vec()),
            account_signature: Some(signature),
            device_signature: None,
        };
        Self { details, signed, companion_identity, account_public }
    }

    /// What travels in `pair-success`: the statement under the secret that only the QR text carried.
    pub(crate) fn seal(&self, adv_secret: &[u8], corrupt: Corruption) -> Vec<u8> {
        let details = self.signed.encode_to_vec();
        let mut mac = Hmac::<Sha256>::new_from_slice(adv_secret).expect("an HMAC takes a key of any length");
        mac.update(&details);
        let mut hmac = mac.finalize().into_bytes().to_vec();
        if corrupt.hmac {
            hmac[0] ^= 1;
        }
        wa::ADVSignedDeviceIdentityHMAC {
            details: Some(details),
            hmac: Some(hmac),
            account_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec()
    }

    /// Checks the device's countersignature; true only if it was made with the identity in the QR text over this very
    /// statement. The phone's own key is used, never the one in the answer: some clients leave it out.
    pub(crate) fn countersigned(&self, answer: &[u8]) -> bool {
        let Ok(answer) = wa::ADVSignedDeviceIdentity::decode_from_slice(answer) else { return false };
        let Ok(identity) = PublicKey::from_djb_public_key_bytes(&self.companion_identity) else { return false };
        let unchanged = answer.details.as_deref() == Some(&self.details[..])
            && answer.account_signature == self.signed.account_signature;
        let message =
            [&DEVICE_SIGNATURE_PREFIX[..], &self.details, &self.companion_identity, &self.account_public].concat();
        unchanged && identity.verify_signature(&message, answer.device_signature.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device's answer to the statement, as an honest client makes it.
    fn answer(statement: &Statement, device: &KeyPair) -> wa::ADVSignedDeviceIdentity {
        let message = [
            &DEVICE_SIGNATURE_PREFIX[..],
            &statement.details,
            &statement.companion_identity,
            &statement.account_public,
        ]
        .concat();
        let signature = device.calculate_signature(&message, &mut rand::rng()).unwrap();
        wa::ADVSignedDeviceIdentity { device_signature: Some(signature.to_vec()), ..statement.signed.clone() }
    }

    #[test]
    fn only_the_scanned_device_can_countersign_its_statement() {
        let mut rng = rand::rng();
        let (account, device, other) =
            (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let statement = Statement::make(&account, raw(&device), 1, Corruption::default());
        let honest = answer(&statement, &device);
        assert!(statement.countersigned(&honest.encode_to_vec()));

        let without_key = wa::ADVSignedDeviceIdentity { account_signature_key: None, ..honest.clone() };
        assert!(statement.countersigned(&without_key.encode_to_vec()), "Baileys leaves the key out");

        assert!(!statement.countersigned(&answer(&statement, &other).encode_to_vec()));
        let another = Statement::make(&account, raw(&device), 2, Corruption::default());
        assert!(!statement.countersigned(&answer(&another, &device).encode_to_vec()));
        let unsigned = wa::ADVSignedDeviceIdentity { device_signature: None, ..honest };
        assert!(!statement.countersigned(&unsigned.encode_to_vec()));
        assert!(!statement.countersigned(b"nonsense"));
    }
}
