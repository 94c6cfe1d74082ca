use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use crate::{
    store::{
        Lease,
        redis::{
            Shared,
            client::failure::Failure,
            journal::record::parse_nonce,
            schema::{self, field},
        },
    },
    tenant::TenantId,
};

/// What a crash or a failover of Redis can lose, in beats of about a second.
const LOSS_MAX_BEATS: u64 = 5;
/// Releases that are compared. After more of them others wait a full lease.
const RELEASES_COMPARED_MAX: usize = 1_024;

/// The leases that this process released in the last seconds. Another instance may have acquired such a tenant although it had
/// just been registered. If Redis loses the release, it loses that registration as well, and only this process knows that there
/// may be another owner.
#[derive(Default)]
pub struct Released(Mutex<VecDeque<Release>>);

#[derive(Clone)]
struct Release {
    beat: u64,
    tenant: TenantId,
    nonce: u128,
    fence: u64,
}

impl Released {
    /// The lease is about to be released, or was.
    pub fn add(&self, lease: &Lease, beat: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.pop_front_if(|old| old.beat + LOSS_MAX_BEATS < beat).is_some() {}
        all.push_back(Release { beat, tenant: lease.tenant().clone(), nonce: lease.nonce(), fence: lease.fence() });
    }

    fn recent(&self, beat: u64) -> Vec<Release> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|release| release.beat + LOSS_MAX_BEATS >= beat).cloned().collect()
    }
}

impl Release {
    /// The record has the lease still, or not yet.
    fn is_lost(&self, (fences, nonce): &(Option<u64>, Option<String>)) -> bool {
        fences.is_none_or(|fences| fences < self.fence) || nonce.as_deref().and_then(parse_nonce) == Some(self.nonce)
    }
}

impl Shared {
    /// Whether this run of Redis lacks a release of this process.
    pub async fn lacks_a_release(&self) -> Result<bool, Failure> {
        let recent = self.released.recent(self.leases.now());
        if recent.is_empty() || recent.len() > RELEASES_COMPARED_MAX {
            return Ok(!recent.is_empty());
        }
        let mut pipeline = redis::pipe();
        for release in &recent {
            pipeline.cmd("HMGET").arg(schema::record(&release.tenant)).arg(field::FENCES).arg(field::OWNER_NONCE);
        }
        let found: Vec<(Option<u64>, Option<String>)> = self.connections.query(&pipeline).await?;
        Ok(recent.iter().zip(&found).any(|(release, found)| release.is_lost(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_lost_if_the_record_is_from_before_it() {
        let tenant = TenantId::parse("a").unwrap();
        let release = Release { beat: 0, tenant, nonce: 7, fence: 3 };
        let owned_by = |fence, nonce: Option<&str>| release.is_lost(&(fence, nonce.map(str::to_owned)));
        assert!(!owned_by(Some(3), None) && !owned_by(Some(4), Some("8")));
        assert!(owned_by(Some(3), Some("7")), "the release is lost");
        assert!(owned_by(Some(2), None) && owned_by(Some(2), Some("6")), "the lease is lost too");
        assert!(owned_by(None, None), "the record is lost");
    }

    #[test]
    fn releases_are_compared_while_a_crash_can_lose_them() {
        let (released, tenant) = (Released::default(), TenantId::parse("a").unwrap());
        released.add(&Lease::new(tenant.clone(), 1, 1), 0);
        assert_eq!(released.recent(LOSS_MAX_BEATS).len(), 1);
        assert!(released.recent(LOSS_MAX_BEATS + 1).is_empty());
        released.add(&Lease::new(tenant, 2, 2), LOSS_MAX_BEATS + 1);
        assert_eq!(released.0.lock().unwrap().len(), 1, "none is kept for longer");
    }
}
