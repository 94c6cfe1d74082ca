use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::store::StoreError;

/// Parses an opened row. A row that opens and does not parse was written by another version, or is damaged. It must not
/// be reported as a wrong key, or the operator looks in the wrong place.
pub fn parse<T: DeserializeOwned>(opened: Option<Zeroizing<Vec<u8>>>) -> Result<T, StoreError> {
    let plain = opened.ok_or(StoreError::Unreadable)?;
    serde_json::from_slice(&plain).map_err(|error| StoreError::Damaged(Box::new(error)))
}
