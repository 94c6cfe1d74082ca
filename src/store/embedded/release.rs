use async_trait::async_trait;

use super::{
    EmbeddedStore,
    rows::{META, RELEASE_ROW},
};
use crate::store::{Release, Releases, StoreError};

#[async_trait]
impl Releases for EmbeddedStore {
    async fn release(&self) -> Result<Option<Release>, StoreError> {
        let found = self.shared().disk.read(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(meta.get(RELEASE_ROW)?.and_then(|row| Release::of_row(row.value())))
        })?;
        Ok(found)
    }

    async fn keep_release(&self, release: Release) -> Result<(), StoreError> {
        self.step(move |batch| batch.keep_meta(RELEASE_ROW, &release.to_row())).await
    }
}
