use async_trait::async_trait;

use super::StoreError;
use crate::tenant::TenantId;

/// All tenants, as an operator sees them.
#[async_trait]
pub trait Tenants: Send + Sync + 'static {
    /// Up to `max` tenants with an unfulfilled desired state, in the order of their names, after this one. Every linked
    /// tenant is one of them.
    async fn wanted(&self, after: Option<&TenantId>, max: usize) -> Result<Vec<TenantId>, StoreError>;

    /// Removes all data of the tenant; its revocation stays, see [`super::Revoked`]. False: nothing was removed, since it
    /// has credentials, a desired state or an owner.
    async fn erase(&self, tenant: &TenantId) -> Result<bool, StoreError>;
}

/// Sorts names, and takes those that follow.
pub fn page(mut names: Vec<TenantId>, after: Option<&TenantId>, max: usize) -> Vec<TenantId> {
    names.retain(|name| after.is_none_or(|after| name > after));
    names.sort();
    names.dedup();
    names.truncate(max);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_name_once() {
        let names: Vec<_> = [5, 3, 9, 3, 1, 7, 5].map(|at| TenantId::parse(&format!("t{at}")).unwrap()).into();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let found = page(names.clone(), after.as_ref(), 2);
            after = found.last().cloned();
            seen.extend(found.iter().map(|name| name.as_str().to_owned()));
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["t1", "t3", "t5", "t7", "t9"]);
    }
}
