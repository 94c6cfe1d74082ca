//! Forgets idle tenants: those without credentials, desired state and owner.

use std::{sync::PoisonError, time::Duration};

use tokio::time::sleep;

use super::{
    EmbeddedStore,
    batch::{Batch, Step},
};
use crate::{
    clock::Timestamp,
    store::{StoreError, idle::IDLE_STEP_MAX},
    tenant::TenantId,
};

/// How often the store looks for idle tenants.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Tenants in one transaction, which holds up every other step.
const AT_ONCE: usize = 64;
/// Between two transactions, so that other steps can run.
const PAUSE: Duration = Duration::from_millis(50);

/// The time that counts towards forgetting. It follows the clock in steps of [`IDLE_STEP_MAX`] at most: a jump of the
/// clock does not count. Without this, a clock that is wrong by a year for a moment would forget all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleTime {
    /// When the clock was last read; 0: never.
    clock_ms: i64,
    pub counted_ms: u64,
}

impl IdleTime {
    pub fn at(self, now: Timestamp) -> Self {
        let clock_ms = now.as_millisecond();
        let step =
            u64::try_from(clock_ms - self.clock_ms).ok().filter(|step| *step <= IDLE_STEP_MAX.as_millis() as u64);
        Self { clock_ms, counted_ms: self.counted_ms + step.unwrap_or(0) }
    }

    pub fn to_row(self) -> Vec<u8> {
        [self.clock_ms.to_le_bytes(), self.counted_ms.to_le_bytes()].concat()
    }

    /// A damaged row starts at zero: then tenants are kept for longer.
    pub fn of_row(row: &[u8]) -> Self {
        let parts = row.split_first_chunk::<8>().and_then(|(clock, rest)| Some((*clock, rest.try_into().ok()?)));
        parts.map_or_else(Self::default, |(clock, counted)| Self {
            clock_ms: i64::from_le_bytes(clock),
            counted_ms: u64::from_le_bytes(counted),
        })
    }
}

impl EmbeddedStore {
    /// Forgets idle tenants for as long as it is polled.
    pub async fn keep_forgetting(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            if let Err(error) = self.forget_idle().await {
                tracing::debug!(%error, "idle tenants could not be looked at, trying again later");
            }
        }
    }

    /// Forgets tenants that have been idle for as long as the settings say. Returns how
    /// many. Done every few minutes anyway.
    pub async fn forget_idle(&self) -> Result<usize, StoreError> {
        let shared = self.shared();
        let (now, after) = (shared.clock.now(), shared.forget_after.as_millis() as u64);
        let counted = self.step(move |batch| batch.count_idle_time(now)).await?.counted_ms;
        let idle = shared.memory.lock().unwrap_or_else(PoisonError::into_inner).idle(counted, after);
        let mut forgotten = 0;
        for tenants in idle.chunks(AT_ONCE) {
            let tenants = tenants.to_vec();
            forgotten += self.step(move |batch| forget_some(batch, &tenants, counted, after)).await?;
            sleep(PAUSE).await;
        }
        if forgotten > 0 {
            tracing::info!(tenants = forgotten, "idle tenants were forgotten");
        }
        Ok(forgotten)
    }

    /// Removes all data of the tenant. False: nothing was removed, since it has credentials, a desired state or an
    /// owner.
    pub async fn erase_tenant(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.step(move |batch| {
            let record = batch.record(&tenant);
            let busy = record.desired.is_some() || record.is_owned() || batch.has_credentials(&tenant)?;
            if !busy {
                batch.forget(&tenant)?;
            }
            Ok(!busy)
        })
        .await
    }
}

fn forget_some(batch: &mut Batch<'_>, tenants: &[TenantId], counted: u64, after: u64) -> Step<usize> {
    let mut forgotten = 0;
    for tenant in tenants {
        // A request may have come since the tenant was found idle. Without this check it would be lost.
        let record = batch.record(tenant);
        if !record.is_idle() {
            continue;
        }
        let since = record.idle_since;
        match since {
            // The file has no row of it.
            None if record.newest.is_none() => {}
            None => {
                batch.begin_idle(tenant, counted)?;
                continue;
            }
            Some(since) if counted.saturating_sub(since) < after => continue,
            Some(_) => {}
        }
        if !batch.has_credentials(tenant)? {
            batch.forget(tenant)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_jumps_does_not_count() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut time = IdleTime::default().at(at(1_800_000_000));
        assert_eq!(time.counted_ms, 0, "the first look counts nothing");
        for (second, counted) in [(600, 600), (4_200, 4_200), (7_801, 4_200), (7_000, 4_200), (7_600, 4_800)] {
            time = time.at(at(1_800_000_000 + second));
            assert_eq!(time.counted_ms, counted * 1_000, "{second}");
            assert_eq!(IdleTime::of_row(&time.to_row()), time);
        }
        assert_eq!(IdleTime::of_row(b"short"), IdleTime::default());
    }
}
