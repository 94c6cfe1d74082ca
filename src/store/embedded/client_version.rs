use async_trait::async_trait;

use super::{
    EmbeddedStore,
    rows::{CLIENT_VERSION_ROW, META},
};
use crate::store::{ClientVersion, ClientVersions, StoreError};

#[async_trait]
impl ClientVersions for EmbeddedStore {
    async fn client_version(&self) -> Result<Option<ClientVersion>, StoreError> {
        let found = self.shared().disk.read(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(meta.get(CLIENT_VERSION_ROW)?.and_then(|row| ClientVersion::of_row(row.value())))
        })?;
        Ok(found)
    }

    async fn keep_client_version(&self, version: ClientVersion) -> Result<(), StoreError> {
        self.step(move |batch| batch.keep_meta(CLIENT_VERSION_ROW, &version.to_row())).await
    }
}
