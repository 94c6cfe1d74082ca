//! Tokens that were revoked stay refused, whatever happens to their tenant; and the list of wanted tenants.

use std::time::{Duration, Instant};

use tautan::{
    clock::Timestamp,
    events::EndReason,
    store::{Change, DesiredState},
};

use crate::{
    backend::Backend,
    redis::{until, with_redis},
    statuses::{connected, ended, tenant},
};

fn just_before(until: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(until.as_second() - 1).ok()
}

fn just_after(until: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(until.as_second() + 1).ok()
}

async fn revocation_outlives_its_tenant_and_the_process(store: impl Backend + Sync) {
    let (a, b) = (tenant("a"), tenant("b"));
    let lease = store.running(&a).await;
    store.journal().append(&lease, connected()).await.unwrap();
    let second = store.revocations().revoke(&a).await.unwrap();
    let refuses = |store: &dyn Fn(Option<Timestamp>) -> bool| {
        (store(None), store(just_before(second)), store(Some(second)), store(just_after(second)))
    };
    let refused = (true, true, true, false);
    assert_eq!(refuses(&|at| store.revocations().revoked().refuses(&a, at)), refused);
    assert!(!store.revocations().revoked().refuses(&b, None));
    let (desired, _) = store.commands().current(&a).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), desired).await.unwrap();
    assert!(store.tenants().erase(&a).await.unwrap());
    assert_eq!(refuses(&|at| store.revocations().revoked().refuses(&a, at)), refused, "erased");
    let store = store.reopen().await;
    until("it is read again", async || store.revocations().revoked().refuses(&a, None).then_some(())).await;
    assert_eq!(refuses(&|at| store.revocations().revoked().refuses(&a, at)), refused, "after a restart");
    assert!(store.revocations().revoke(&a).await.unwrap() >= second);
}

async fn clock_that_was_set_back_undoes_no_revocation(store: impl Backend + Sync) {
    let a = tenant("a");
    let second = store.revocations().revoke(&a).await.unwrap();
    store.clock_goes(-3_600).await;
    assert!(store.revocations().revoke(&a).await.unwrap() >= second);
    assert!(store.revocations().revoked().refuses(&a, Some(second)));
}

async fn wanted_tenants_are_listed_in_order_and_each_once(store: impl Backend + Sync) {
    let (mut leases, names) = (Vec::new(), ["b", "auth0|5f7c", "{/}", "c", "a}:history"]);
    for (at, name) in names.iter().enumerate() {
        store.commands().request(&tenant(name), DesiredState::run(None)).await.unwrap();
        if at % 2 == 0 {
            leases.push(store.ownership().acquire(&tenant(name)).await.unwrap().unwrap());
        }
    }
    let gone = store.running(&tenant("gone")).await;
    let put = Change::Put { table: "keys", key: "k".into(), value: "v".into() };
    store.credentials().write(&gone, vec![put]).await.unwrap();
    let (desired, _) = store.commands().current(&tenant("gone")).await.unwrap().unwrap();
    store.journal().finish(gone, ended(EndReason::QrExpired), desired).await.unwrap();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.tenants().wanted(after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        after = page.last().cloned();
        listed.extend(page.iter().map(|name| name.as_str().to_owned()));
        if after.is_none() {
            break;
        }
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(listed, sorted);
}

promises!(
    revocation_outlives_its_tenant_and_the_process,
    clock_that_was_set_back_undoes_no_revocation,
    wanted_tenants_are_listed_in_order_and_each_once,
);

/// The message may be lost with a subscription that broke in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_without_its_message_is_read_within_a_second() {
    with_redis(async |redis| {
        let a = tenant("a");
        let known = redis.revocations().revoke(&tenant("b")).await.unwrap();
        let later = known.as_second() + 1;
        redis.server.ask(&["ZADD", "tautan:{0}:revocations", &later.to_string(), &a.reference().to_string()]);
        let saved = Instant::now();
        until("it is read", async || redis.revocations().revoked().refuses(&a, Some(known)).then_some(())).await;
        assert!(saved.elapsed() < Duration::from_secs(1), "{:?}", saved.elapsed());
    })
    .await;
}
