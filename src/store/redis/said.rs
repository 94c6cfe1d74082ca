//! What is said to a tenant's owner from another instance. Stands in `…:said` for a moment, and is no part of the record.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Shared,
    record::nonce_text,
    schema,
    script::{Call, SAID, SAY},
};
use crate::{
    store::{Lease, MESSAGE_KEPT_FOR, MESSAGES_MAX, StoreError},
    tenant::TenantId,
};

pub async fn say(shared: &Arc<Shared>, tenant: &TenantId, words: &[u8]) -> Result<(), StoreError> {
    let reading = shared.read(tenant, None).await?;
    let Some(owner) = reading.record.owner.filter(|_| reading.living) else { return Ok(()) };
    let call = Call::on(&SAY, tenant)
        .key(schema::inbox(&owner.incarnation))
        .arg(nonce_text(owner.nonce))
        .arg(shared.seals(tenant).words(words));
    let call = call.arg(MESSAGES_MAX).arg(MESSAGE_KEPT_FOR.as_millis() as u64).arg(shared.census.instance());
    shared.ask_script(&call).await?;
    shared.notifications.add(tenant.clone());
    Ok(())
}

pub async fn said(shared: &Shared, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
    shared.held(lease)?;
    let call = Call::on(&SAID, lease.tenant()).arg(nonce_text(lease.nonce())).arg(lease.fence());
    let (word, words): (String, Vec<Vec<u8>>) = shared.connections.call(&call).await?;
    if word == "fenced" {
        shared.leases.end(lease.nonce());
        return Err(StoreError::Fenced);
    }
    let seals = shared.seals(lease.tenant());
    let opened = words.iter().rev().map(|words| seals.open_words(words).map(Bytes::from));
    opened.collect::<Option<_>>().ok_or(StoreError::Unreadable)
}
