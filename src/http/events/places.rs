use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::tenant::TenantId;

/// Counts the open streams of each tenant.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<TenantId, usize>>>);

/// Held by a stream; given back when it is dropped, however it ends.
pub struct Place {
    places: Places,
    tenant: TenantId,
}

impl Places {
    /// `None`: the tenant has `max` already.
    pub fn take(&self, tenant: &TenantId, max: usize) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(tenant).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        taken.insert(tenant.clone(), count + 1);
        Some(Place { places: self.clone(), tenant: tenant.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_stream_is_gone() {
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        let places = Places::default();
        let first = places.take(&a, 2).unwrap();
        let _second = places.take(&a, 2).unwrap();
        assert!(places.take(&a, 2).is_none());
        assert!(places.take(&b, 2).is_some(), "another tenant has places of its own");
        drop(first);
        assert!(places.take(&a, 2).is_some());
        assert_eq!(places.0.lock().unwrap().len(), 1, "tenants without streams are forgotten");
    }
}
