//! Messages from other instances to a tenant's owner. They are kept for a moment, and are no part of the record.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    store::{
        Lease, MESSAGE_KEPT_FOR, MESSAGES_MAX, StoreError,
        redis::{
            Shared,
            journal::record::nonce_text,
            millis, schema,
            script::{Call, RECEIVE, SEND},
        },
    },
    tenant::TenantId,
};

pub async fn send(shared: &Arc<Shared>, tenant: &TenantId, message: &[u8]) -> Result<(), StoreError> {
    let reading = shared.read(tenant, None).await?;
    let Some(owner) = reading.record.owner.filter(|_| reading.is_owned) else { return Ok(()) };
    let call = Call::on(&SEND, tenant)
        .key(schema::inbox(&owner.incarnation))
        .arg(nonce_text(owner.nonce))
        .arg(shared.seals(tenant).owner_message(message));
    let call = call.arg(MESSAGES_MAX).arg(millis(MESSAGE_KEPT_FOR)).arg(shared.membership.instance());
    shared.ask_script(&call).await?;
    shared.notifications.add(tenant.clone());
    Ok(())
}

pub async fn receive(shared: &Shared, lease: &Lease) -> Result<Vec<Bytes>, StoreError> {
    shared.held(lease)?;
    let call = Call::on(&RECEIVE, lease.tenant()).arg(nonce_text(lease.nonce())).arg(lease.fence());
    let (word, messages): (String, Vec<Vec<u8>>) = shared.connections.call(&call).await?;
    if word == "fenced" {
        shared.leases.end(lease.nonce());
        return Err(StoreError::Fenced);
    }
    let seals = shared.seals(lease.tenant());
    let opened = messages.iter().rev().map(|message| seals.open_owner_message(message).map(Bytes::from));
    opened.collect::<Option<_>>().ok_or(StoreError::Unreadable)
}
