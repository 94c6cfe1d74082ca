use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Mutex, oneshot};
use wacore_binary::Node;
use wacore_libsignal::protocol::KeyPair;

use crate::certificate::raw;
use crate::keys::{KeyDirectory, LastingKeys, NumberedKey};
use crate::passkey::Passkey;
use crate::phone::TextError;
use crate::refusal::Refusal;
use crate::signal::Sessions;
use crate::tally::Tally;

/// A number with its phone and the devices linked to it.
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) identity: KeyPair,
    /// Behind a lock of its own, because a message is sealed in several steps that must not interleave.
    pub(crate) sessions: Arc<Mutex<Sessions>>,
    pub(crate) keys: KeyDirectory,
    pub(crate) refusal: Option<Refusal>,
    /// Without it no device is linked, where it is set.
    pub(crate) passkey: Option<Passkey>,
    pub(crate) passkey_code: Option<String>,
    pub(crate) devices: BTreeMap<u16, Device>,
    pub(crate) last_index: u16,
}

impl Account {
    pub(crate) fn new(name: String) -> Self {
        let mut rng = rand::rng();
        let identity = KeyPair::generate(&mut rng);
        let signed = KeyPair::generate(&mut rng);
        let registration_id = rand::random_range(1..=0x3fff);
        // Signed like any published key: over the serialized form, type byte included.
        let signature =
            identity.calculate_signature(&signed.public_key.serialize(), &mut rng).expect("a generated key signs");
        let keys = KeyDirectory::new(LastingKeys {
            registration_id,
            identity: raw(&identity).to_vec(),
            signed: NumberedKey { id: 1, value: raw(&signed).to_vec() },
            signature: signature.to_vec(),
        });
        let sessions = Arc::new(Mutex::new(Sessions::new(&identity, registration_id)));
        Self {
            name,
            identity,
            sessions,
            keys,
            refusal: None,
            passkey: None,
            passkey_code: None,
            devices: BTreeMap::new(),
            last_index: 0,
        }
    }
}

/// A device that was linked once. Kept after its unlinking, so that its counts can still be read.
pub(crate) struct Device {
    pub(crate) linked: bool,
    /// The key that proves at login which device this is.
    pub(crate) noise: [u8; 32],
    pub(crate) signed_identity: Vec<u8>,
    /// The name that the list of linked devices shows, from the registration.
    pub(crate) name: String,
    pub(crate) keys: KeyDirectory,
    pub(crate) outbox: VecDeque<Parcel>,
    /// Its logged-in sockets.
    pub(crate) live: Vec<u64>,
    pub(crate) tally: Tally,
}

/// A message that waits for the device to confirm it.
pub(crate) struct Parcel {
    pub(crate) id: String,
    pub(crate) stanza: Node,
    /// The socket it last went out on; another socket gets it again.
    pub(crate) sent_on: Option<u64>,
    pub(crate) done: Option<oneshot::Sender<Result<(), TextError>>>,
}
