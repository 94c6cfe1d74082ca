use std::sync::{Weak, atomic::Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::error;
use whatsapp_rust::{
    Jid,
    store::{DeviceStore, persistence_manager::PersistenceManager},
    wacore::store::Device,
};

use super::{Keys, LibraryResult, as_text, from_json, put, to_json};
use crate::{
    events::{PhoneNumber, Platform, cut_name},
    link_options::ProxyName,
    session::End,
    store::{CredentialStore, StoreError},
    tenant::TenantId,
    whatsapp::termination::Stage,
};

const DEVICE: &str = "device";
const ONLY: &[u8] = b"";
/// The name of the proxy that the device's links go through.
const PROXY: &[u8] = b"proxy";
/// The phone that the device was linked with.
const PHONE: &str = "phone";
const PLATFORM: &[u8] = b"platform";

/// The library stops saving without a log line after ten failures. The link ends before that.
const FAILURES_MAX: u32 = 5;

/// The longest hint that is saved. WhatsApp's hints have some ten bytes.
const HINT_BYTES_MAX: usize = 1 << 10;

/// The device that is durable.
#[derive(Default)]
pub(super) struct Saved {
    /// `None` until this link has saved a device.
    digest: Option<[u8; 32]>,
    owner: Option<Owner>,
}

/// The account of a device. A login has no phone number, only the account's hidden identity.
#[derive(Clone)]
struct Owner {
    phone: Option<String>,
    lid: Option<String>,
}

impl Owner {
    fn of(device: &Device) -> Self {
        let user = |jid: &Option<Jid>| jid.as_ref().map(|jid| jid.user.to_string()).filter(|user| !user.is_empty());
        Self { phone: user(&device.pn), lid: user(&device.lid) }
    }

    /// Compares only values that both have.
    fn is_another(&self, other: &Self) -> bool {
        let differ = |ours: &Option<String>, theirs: &Option<String>| {
            ours.as_ref().zip(theirs.as_ref()).is_some_and(|(ours, theirs)| ours != theirs)
        };
        differ(&self.phone, &other.phone) || differ(&self.lid, &other.lid)
    }
}

/// The device that can be resumed.
pub(in crate::whatsapp) struct Stored {
    /// The stage that the pairing reached.
    pub stage: Stage,
    pub phone: PhoneNumber,
    /// The proxy that its links go through, if it was given one.
    pub proxy: Option<ProxyName>,
}

pub(in crate::whatsapp) async fn stored(
    credentials: &dyn CredentialStore,
    tenant: &TenantId,
) -> Result<Option<Stored>, StoreError> {
    let mut rows = credentials.get_many(tenant, DEVICE, &[ONLY, PROXY].map(Bytes::from_static)).await?.into_iter();
    let (Some(row), proxy) = (rows.next().flatten(), rows.next().flatten()) else {
        return Ok(None);
    };
    // A name that cannot be read must not be taken for none: the link would go past the proxy.
    let proxy =
        proxy.map(|name| ProxyName::try_from(as_text(&name)?).map_err(|error| StoreError::Damaged(Box::new(error))));
    let device: Device = from_json(&row)?;
    let phone = PhoneNumber::parse(device.pn.as_ref().map(|pn| pn.user.as_str()).unwrap_or_default());
    let phone = phone.map_err(|error| StoreError::Damaged(Box::new(error)))?;
    // The library counts a login only after WhatsApp accepted it.
    let stage = if device.login_counter > 0 { Stage::Linked } else { Stage::Scanned };
    Ok(Some(Stored { stage, phone, proxy: proxy.transpose()? }))
}

/// Cuts long values: WhatsApp and the phone may send texts of megabytes, and every change writes the row again.
fn short(mut device: Device) -> Device {
    device.push_name.truncate(cut_name(&device.push_name).len());
    // These are optional: each only saves WhatsApp a step.
    device.edge_routing_info = device.edge_routing_info.filter(|info| info.len() <= HINT_BYTES_MAX);
    device.props_hash = device.props_hash.filter(|hash| hash.len() <= HINT_BYTES_MAX);
    device.nct_salt = device.nct_salt.filter(|salt| salt.len() <= HINT_BYTES_MAX);
    device
}

impl Keys {
    /// The phone's platform, as the phone named it at the last pairing.
    pub async fn platform(&self) -> Result<Option<Platform>, StoreError> {
        let row = self.get(PHONE, PLATFORM).await?;
        Ok(row.and_then(|row| Platform::parse(str::from_utf8(&row).ok()?).ok()))
    }

    pub async fn keep_platform(&self, platform: &Platform) -> Result<(), StoreError> {
        self.put(PHONE, Bytes::from_static(PLATFORM), platform.as_str().as_bytes().to_vec()).await
    }

    /// Names the library's manager, which has the newest device.
    pub fn attach(&self, manager: Weak<PersistenceManager>) {
        // Set once per link, right after its client is built.
        let _ = self.manager.set(manager);
    }

    /// Returns when the newest device is durable.
    ///
    /// The library's own `flush` does not guarantee that: it returns at once while its background saver is still
    /// writing, and a save that began earlier may overwrite a newer one.
    pub async fn save_newest(&self) -> Result<(), StoreError> {
        match self.newest() {
            Some(device) => self.keep(&device).await,
            None => Ok(()),
        }
    }

    fn newest(&self) -> Option<Device> {
        let manager = self.manager.get()?.upgrade()?;
        Some(manager.get_device_snapshot().to_serializable())
    }

    async fn keep(&self, given: &Device) -> Result<(), StoreError> {
        let mut saved = self.device.lock().await;
        // Read under the lock. Without this, a second call could overwrite a newer device with an older one.
        let device = short(self.newest().unwrap_or_else(|| given.clone()));
        if device.pn.is_none() || device.account.is_none() {
            // Not paired: a login is not possible with it, and codes that were not scanned leave no row.
            return Ok(());
        }
        if self.is_retired() {
            return Ok(());
        }
        let owner = Owner::of(&device);
        // The only check of its kind: the driver saves the device before it signals a login.
        if saved.owner.as_ref().is_some_and(|ours| ours.is_another(&owner)) {
            error!(tenant = %self.lease.tenant(), "whatsapp let us in as another account than the one that was linked");
            // All later writes would be of the other account: the saved credentials stay as they are.
            self.retire();
            self.termination.terminate(End::AccountChanged);
            return Ok(());
        }
        let row = to_json(&device)?;
        let digest = Sha256::digest(&row).into();
        if saved.digest == Some(digest) {
            return Ok(());
        }
        let mut changes = vec![put(DEVICE, Bytes::from_static(ONLY), row)];
        // In the same step: a device without its proxy's name would be resumed past the proxy.
        if saved.digest.is_none()
            && let Some(proxy) = &self.proxy
        {
            changes.push(put(DEVICE, Bytes::from_static(PROXY), proxy.as_str().as_bytes().to_vec()));
        }
        let written = self.write(changes).await;
        if written.is_ok() {
            *saved = Saved { digest: Some(digest), owner: Some(owner) };
        }
        written
    }

    fn count_failure(&self, written: &Result<(), StoreError>) {
        if written.is_ok() {
            self.device_failures.store(0, Ordering::Relaxed);
        } else if self.device_failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_MAX {
            error!(tenant = %self.lease.tenant(), "the device cannot be saved: its link is closed");
            self.termination.terminate(End::StoreFailed);
        }
    }
}

#[async_trait]
impl DeviceStore for Keys {
    async fn save(&self, device: &Device) -> LibraryResult<()> {
        let saved = self.keep(device).await;
        self.count_failure(&saved);
        saved.map_err(|error| self.library_error(error))
    }

    async fn load(&self) -> LibraryResult<Option<Device>> {
        // A link that offers codes was opened because there is no device.
        if self.progress.stage() == Stage::Offering {
            return Ok(None);
        }
        let device = self.get_json(DEVICE, ONLY).await.map_err(|error| self.library_error(error))?;
        self.device.lock().await.owner = device.as_ref().map(Owner::of);
        Ok(device)
    }

    /// The library asks this only to create a row before it loads one, and `load` answers whether there is a device. A
    /// read would be one more round trip before the first code.
    async fn exists(&self) -> LibraryResult<bool> {
        Ok(true)
    }

    /// Writes nothing: the row is written once there is a device to resume.
    async fn create(&self) -> LibraryResult<i32> {
        Ok(1)
    }
}
