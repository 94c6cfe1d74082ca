use async_trait::async_trait;

use super::{RedisStore, schema};
use crate::store::{ClientVersion, ClientVersions, StoreError};

#[async_trait]
impl ClientVersions for RedisStore {
    async fn client_version(&self) -> Result<Option<ClientVersion>, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(schema::client_version());
        let (row,): (Option<Vec<u8>>,) = self.ask(&pipeline).await?;
        Ok(row.and_then(|row| ClientVersion::of_row(&row)))
    }

    async fn keep_client_version(&self, version: ClientVersion) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(schema::client_version()).arg(version.to_row()).ignore();
        self.ask(&pipeline).await
    }
}
