//! Tenants whose names have characters that mean something to a key, a pattern or a script.

use tautan::store::{Change, DesiredState};

use crate::{
    backend::Backend,
    statuses::{Received, connected, ended, next, resuming, starting, tenant},
};

promises![tenants_with_odd_names_are_kept_apart];

const NAMES: [&str; 10] = ["/", "}", "{}", "*", "%2F", "..", "auth0|5f7c", "a}:history", "/}:alive:x", "0}:wanted"];

/// Without encoding, `/` would take the instances' own hash tag, and `}` end the tenant's.
async fn tenants_with_odd_names_are_kept_apart(store: impl Backend + Sync) {
    let mut leases = Vec::new();
    for name in NAMES {
        let lease = store.running(&tenant(name)).await;
        let mut reader = store.journal().subscribe(&tenant(name), None).await;
        assert_eq!(next(&mut reader).await, Some(Received::Event(starting())), "{name}");
        store.journal().append(&lease, connected()).await.unwrap();
        assert_eq!(next(&mut reader).await, Some(Received::Event(connected())), "{name}");
        let row = Change::Put { table: "t", key: "k".into(), value: name.to_owned().into() };
        store.credentials().write(&lease, vec![row]).await.unwrap();
        leases.push((name, lease));
    }
    for (name, lease) in &leases {
        let row = store.credentials().get(&tenant(name), "t", b"k").await.unwrap().unwrap();
        assert_eq!(&row[..], name.as_bytes());
        store.credentials().erase(lease).await.unwrap();
        assert!(!store.credentials().holds(&tenant(name)).await.unwrap());
    }
    let last = leases.pop().unwrap();
    for (name, lease) in leases {
        store.commands().request(&tenant(name), DesiredState::Unlink).await.unwrap();
        let (number, _) = store.commands().current(&tenant(name)).await.unwrap().unwrap();
        let cancelled = ended(tautan::events::EndReason::Cancelled);
        store.journal().finish(lease, cancelled, number).await.unwrap();
    }
    store.ownership().release(last.1).await.unwrap();
    assert_eq!(store.ownership().orphaned(10).await.unwrap(), [tenant(last.0)], "it alone is wanted");
    assert!(store.ownership().acquire(&tenant(last.0)).await.unwrap().is_some());
    assert_eq!(store.journal().latest(&tenant(last.0)).await.unwrap().unwrap().event.status, resuming());
}
