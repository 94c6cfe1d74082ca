//! When an idle tenant is forgotten: one without credentials, desired state and owner.

use std::time::Duration;

/// Without another setting.
pub const FORGET_AFTER: Duration = Duration::from_secs(90 * 24 * 3_600);

/// The longest step of the store's clock that counts as time. Without this a clock that is wrong by a year for a moment
/// would forget all tenants. The store looks at its clock more often than that while it is open.
pub(in crate::store) const IDLE_STEP_MAX: Duration = Duration::from_secs(3_600);
