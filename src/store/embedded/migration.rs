use redb::WriteTransaction;

use crate::store::{Migration, crypt::MasterKey};

/// How a file's format is migrated: in the transaction of the start, so a kill leaves the file as it was. The key is the one
/// that the rows are encrypted with.
pub type Step = fn(&WriteTransaction, &MasterKey) -> Result<(), redb::Error>;

/// Those of this program. No other format was released.
pub const MIGRATIONS: &[Migration<Step>] = &[];
