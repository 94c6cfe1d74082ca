use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::{store::StoreError, tenant::TenantId};

/// Rows that are remembered as reported. Beyond it all are forgotten, and some are reported once more.
const REPORTED_MAX: usize = 1_000;

/// Reports each row that cannot be read once: a page that asks every second must not fill the log.
#[derive(Default)]
pub struct Unread(Mutex<HashSet<String>>);

impl Unread {
    pub fn report(&self, tenant: &TenantId, row: &str, error: &StoreError) {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= REPORTED_MAX {
            reported.clear();
        }
        if reported.insert(format!("{tenant} {row}")) {
            let why = match error {
                StoreError::Damaged(why) => why.to_string(),
                other => other.to_string(),
            };
            tracing::error!(%tenant, row, why, "a stored row cannot be read, it is kept and its tenant goes on without it");
        }
    }
}
