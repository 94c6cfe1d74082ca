use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::StoreError;
use crate::{
    clock::Timestamp,
    tenant::{TenantId, TenantRef},
};

/// Refuses tokens before they expire.
#[async_trait]
pub trait Revocations: Send + Sync + 'static {
    /// Revokes the tenant's tokens that were issued until now, by the store's clock. In one step the time is saved, and
    /// every instance learns of it. Returns the time, in whole seconds: it never moves back.
    async fn revoke(&self, tenant: &TenantId) -> Result<Timestamp, StoreError>;

    /// The revocations that this process knows.
    fn revoked(&self) -> &Arc<Revoked>;
}

/// Until when each tenant's tokens are revoked, as this process knows it. In memory, so that checking a token asks no
/// store.
///
/// A tenant is known by its public reference. So the name of a tenant that was erased is not kept, and its old tokens
/// stay refused. Never forgotten: a token may have any `exp`, so no time is known after which none is valid. That is some
/// 50 bytes for each tenant that ever had its tokens revoked.
#[derive(Default)]
pub struct Revoked {
    known: RwLock<HashMap<TenantRef, i64>>,
    changed: watch::Sender<()>,
}

impl Revoked {
    /// Whether a token of this issue time was revoked. A time is in whole seconds, so a token that was issued in the second
    /// of the revocation is refused, be it before or after.
    pub fn refuses(&self, tenant: &TenantId, issued_at: Option<Timestamp>) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Most deployments revoke nothing, and need no hash.
        let until = if known.is_empty() { None } else { known.get(&tenant.reference()) };
        until.is_some_and(|until| issued_at.is_none_or(|at| at.as_second() <= *until))
    }

    /// Changes whenever more tokens are refused.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The latest time counts, in whatever order the times arrive.
    pub(super) fn learn(&self, revocations: impl IntoIterator<Item = (TenantRef, i64)>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_news = false;
        for (tenant, until) in revocations {
            let kept = known.entry(tenant).or_insert(i64::MIN);
            is_news |= *kept < until;
            *kept = until.max(*kept);
        }
        drop(known);
        if is_news {
            self.changed.send_replace(());
        }
    }

    /// The latest time of all.
    pub(super) fn newest(&self) -> Option<i64> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().copied().max()
    }

    /// All of them.
    pub(super) fn all(&self) -> HashMap<TenantRef, i64> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocation_refuses_tokens_issued_until_its_second() {
        let (revoked, a, b) = (Revoked::default(), TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert!(!revoked.refuses(&a, None) && !revoked.refuses(&a, at(0)));
        revoked.learn([(a.reference(), 100)]);
        for (issued_at, refused) in [(None, true), (at(0), true), (at(99), true), (at(100), true), (at(101), false)] {
            assert_eq!(revoked.refuses(&a, issued_at), refused, "{issued_at:?}");
        }
        assert!(!revoked.refuses(&b, None), "another tenant");
    }

    #[test]
    fn latest_time_counts_in_any_order() {
        let (revoked, tenant) = (Revoked::default(), TenantId::parse("a").unwrap());
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut changes = revoked.changes();
        changes.borrow_and_update();
        for (until, is_news) in [(100, true), (90, false), (100, false), (110, true)] {
            revoked.learn([(tenant.reference(), until)]);
            assert_eq!(changes.has_changed().unwrap(), is_news, "{until}");
            changes.borrow_and_update();
            assert!(revoked.refuses(&tenant, at(100)), "{until}");
        }
        assert!(revoked.refuses(&tenant, at(110)) && !revoked.refuses(&tenant, at(111)));
    }
}
