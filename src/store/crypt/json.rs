use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::store::StoreError;

/// What a sealed row says. A row that opens and does not parse was written by another version, or is damaged: an
/// operator who reads of a wrong key looks in the wrong place.
pub fn parse<T: DeserializeOwned>(opened: Option<Zeroizing<Vec<u8>>>) -> Result<T, StoreError> {
    let plain = opened.ok_or(StoreError::Unreadable)?;
    serde_json::from_slice(&plain).map_err(|error| StoreError::Damaged(Box::new(error)))
}
