use std::time::Duration;

use tokio::time::Instant;

use crate::tenant::TenantId;

/// For how long nothing is sent after 410 Gone.
pub const GONE_FOR: Duration = Duration::from_secs(24 * 3600);
/// After 410 for so many tenants in a row nothing is sent for any tenant. A back end that deleted one tenant still
/// accepts webhooks of the others.
const TENANTS_MAX: usize = 3;

/// Counts the receiver's 410 answers.
#[derive(Default)]
pub struct Gone {
    /// Tenants whose last deliveries were answered 410, without another answer between.
    tenants: Vec<TenantId>,
    until: Option<Instant>,
}

impl Gone {
    /// True: nothing is sent any more, for any tenant.
    pub fn add(&mut self, tenant: &TenantId, now: Instant) -> bool {
        // An entry whose nack failed comes again, and does not count twice.
        if !self.tenants.contains(tenant) {
            self.tenants.push(tenant.clone());
        }
        let all = self.tenants.len() >= TENANTS_MAX;
        if all {
            self.tenants.clear();
            self.until = Some(now + GONE_FOR);
        }
        all
    }

    /// The receiver answered something else.
    pub fn answers(&mut self) {
        self.tenants.clear();
    }

    /// Nothing is sent before this.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn three_tenants_in_a_row_stop_all_for_a_day() {
        let (mut gone, now) = (Gone::default(), Instant::now());
        for name in ["a", "b", "a", "b", "a"] {
            assert!(!gone.add(&tenant(name), now));
        }
        gone.answers();
        assert!(!gone.add(&tenant("c"), now) && !gone.add(&tenant("d"), now));
        assert_eq!(gone.until(now), None);
        assert!(gone.add(&tenant("a"), now));
        assert_eq!(gone.until(now), Some(now + GONE_FOR));
        assert_eq!(gone.until(now + GONE_FOR), None);
        assert!(!gone.add(&tenant("a"), now + GONE_FOR), "counted anew");
    }
}
