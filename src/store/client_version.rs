use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::clock::Timestamp;

/// The version of WhatsApp's own web client that was looked up last, the same for all tenants and instances. It is
/// public, so it is not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientVersion {
    /// Such as (2, 3000, 1023).
    pub version: (u32, u32, u32),
    /// When it was looked up.
    pub at: Timestamp,
}

/// Where the version is saved, so that neither a restart nor another instance looks it up again.
#[async_trait]
pub trait ClientVersions: Send + Sync + 'static {
    /// The saved version, however old. `None`: there is none, or it cannot be read.
    async fn client_version(&self) -> Result<Option<ClientVersion>, StoreError>;

    /// Replaces the saved version.
    async fn keep_client_version(&self, version: ClientVersion) -> Result<(), StoreError>;
}

impl ClientVersion {
    pub(super) fn to_row(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("numbers and a time have no failing serializer")
    }

    pub(super) fn of_row(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }
}
