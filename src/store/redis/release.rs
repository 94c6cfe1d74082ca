use async_trait::async_trait;

use super::{RedisStore, keys};
use crate::store::{Release, Releases, StoreError};

#[async_trait]
impl Releases for RedisStore {
    async fn release(&self) -> Result<Option<Release>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(keys::RELEASE);
        let (row,): (Option<Vec<u8>>,) = self.ask(&pipeline).await?;
        Ok(row.and_then(|row| Release::of_row(&row)))
    }

    async fn keep_release(&self, release: Release) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(keys::RELEASE).arg(release.to_row()).ignore();
        self.ask(&pipeline).await
    }
}
