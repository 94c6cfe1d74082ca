use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const RELYING_PARTY: &str = "web.whatsapp.com";
const ORIGIN: &str = "https://web.whatsapp.com";
/// The owner was there, and proved to be the owner.
const PRESENT_AND_VERIFIED: u8 = 0b101;
const AUTHENTICATOR_DATA_BYTES: usize = 37;

/// A passkey that its account's owner keeps somewhere, with the authenticator that holds it.
#[derive(Clone)]
pub struct Passkey {
    credential: [u8; 16],
    private: Vec<u8>,
}

/// What is asked of the authenticator: a standard `PublicKeyCredentialRequestOptions`.
pub(crate) struct Challenge {
    bytes: [u8; 32],
    credential: [u8; 16],
}

impl Challenge {
    pub(crate) fn options(&self) -> String {
        let options = json!({
            "challenge": URL_SAFE_NO_PAD.encode(self.bytes),
            "timeout": 60_000,
            "rpId": RELYING_PARTY,
            "allowCredentials": [{ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(self.credential) }],
            "userVerification": "required",
        });
        options.to_string()
    }
}

impl Passkey {
    pub(crate) fn generate() -> Self {
        let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        Self { credential: rand::random(), private: private.expect("there is randomness").as_ref().to_vec() }
    }

    pub(crate) fn challenge(&self) -> Challenge {
        Challenge { bytes: rand::random(), credential: self.credential }
    }

    fn keys(&self) -> EcdsaKeyPair {
        let keys = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.private, &SystemRandom::new());
        keys.expect("it was made here")
    }

    /// What `navigator.credentials.get` gives, as JSON, on a page of WhatsApp's own origin.
    ///
    /// # Panics
    /// If the options are not JSON with a challenge.
    pub fn assertion(&self, options: &Value) -> Value {
        let client = json!({
            "type": "webauthn.get", "challenge": options["challenge"].as_str().expect("a challenge"), "origin": ORIGIN,
            "crossOrigin": false,
        });
        let client = client.to_string();
        let relying_party = options["rpId"].as_str().unwrap_or(RELYING_PARTY);
        let mut data = Sha256::digest(relying_party).to_vec();
        data.push(PRESENT_AND_VERIFIED);
        data.extend([0; 4]);
        let signed = [&data[..], &Sha256::digest(&client)].concat();
        let signature = self.keys().sign(&SystemRandom::new(), &signed).expect("a generated key signs");
        let id = URL_SAFE_NO_PAD.encode(self.credential);
        json!({
            "id": id, "rawId": id, "type": "public-key",
            "response": {
                "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
                "authenticatorData": URL_SAFE_NO_PAD.encode(data),
                "signature": URL_SAFE_NO_PAD.encode(signature),
                "userHandle": null,
            },
        })
    }

    /// Whether this passkey answered this challenge, for WhatsApp's origin, with its owner present.
    pub(crate) fn answers(&self, challenge: &Challenge, credential: &[u8], assertion: &[u8]) -> bool {
        self.check(challenge, credential, assertion).is_some()
    }

    fn check(&self, challenge: &Challenge, credential: &[u8], assertion: &[u8]) -> Option<()> {
        let assertion: Value = serde_json::from_slice(assertion).ok()?;
        let field = |name: &str| URL_SAFE_NO_PAD.decode(assertion["response"][name].as_str()?).ok();
        let (client, data, signature) = (field("clientDataJSON")?, field("authenticatorData")?, field("signature")?);
        let said: Value = serde_json::from_slice(&client).ok()?;
        let ours = credential == self.credential
            && URL_SAFE_NO_PAD.decode(assertion["rawId"].as_str()?).ok()? == self.credential
            && said["type"] == "webauthn.get"
            && said["origin"] == ORIGIN
            && said["challenge"] == URL_SAFE_NO_PAD.encode(challenge.bytes)
            && data.len() >= AUTHENTICATOR_DATA_BYTES
            && data[..32] == Sha256::digest(RELYING_PARTY)[..]
            && data[32] & PRESENT_AND_VERIFIED == PRESENT_AND_VERIFIED;
        let signed = [&data[..], &Sha256::digest(&client)].concat();
        let public = self.keys().public_key().as_ref().to_vec();
        let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public).verify(&signed, &signature);
        (ours && verified.is_ok()).then_some(())
    }
}
