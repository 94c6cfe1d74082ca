use tautan::{
    events::EndReason,
    store::{StoreError, Wish, WishNo},
};

use crate::{
    backend::Backend,
    statuses::{Told, all, ended, phone, qr, starting, tenant},
};

promises![
    finishing_says_the_last_word_settles_the_wish_and_gives_the_lease_back,
    a_wish_made_meanwhile_is_not_lost,
    an_unlink_made_meanwhile_is_not_lost,
    a_finish_with_a_lease_that_was_given_back_is_refused,
    a_finished_session_is_not_started_again_by_a_restart,
];

const RUN: Wish = Wish::Run { phone: None };

async fn finishing_says_the_last_word_settles_the_wish_and_gives_the_lease_back(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (wish, _) = store.roster().wish(&tenant("a")).await.unwrap().unwrap();
    let lost = lease.lost().clone();
    let last = store.journal().finish(lease, ended(EndReason::Banned), wish).await.unwrap();
    assert_eq!(last.status, ended(EndReason::Banned));
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, last);
    assert!(lost.is_cancelled());
    assert_eq!(store.roster().wish(&tenant("a")).await.unwrap(), None);
    assert!(store.roster().unattended(10).await.unwrap().is_empty());
    assert!(store.roster().acquire(&tenant("a")).await.unwrap().is_none(), "nobody wants it");
}

async fn a_wish_made_meanwhile_is_not_lost(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (old, _) = store.roster().wish(&tenant("a")).await.unwrap().unwrap();
    store.journal().append(&lease, qr(1)).await.unwrap();
    let mut reader = store.journal().subscribe(&tenant("a"), None).await;
    let newer = Wish::Run { phone: Some(phone()) };
    let number = store.roster().want(&tenant("a"), newer.clone()).await.unwrap();
    assert!(number > old);
    store.roster().nudged().await;
    let last = store.journal().finish(lease, ended(EndReason::QrExpired), old).await.unwrap();
    assert_eq!(last.status, ended(EndReason::QrExpired));
    assert_eq!(
        all(&mut reader).await,
        [Told::Event(qr(1)), Told::Event(ended(EndReason::QrExpired)), Told::Event(starting())]
    );
    assert_eq!(store.roster().nudged().await, [tenant("a")]);
    assert_eq!(store.roster().unattended(10).await.unwrap(), [tenant("a")]);
    assert_eq!(store.roster().wish(&tenant("a")).await.unwrap(), Some((number, newer)));
    assert!(store.roster().acquire(&tenant("a")).await.unwrap().is_some());
}

async fn an_unlink_made_meanwhile_is_not_lost(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (old, _) = store.roster().wish(&tenant("a")).await.unwrap().unwrap();
    let number = store.roster().want(&tenant("a"), Wish::Unlink).await.unwrap();
    store.roster().nudged().await;
    store.journal().finish(lease, ended(EndReason::Internal), old).await.unwrap();
    assert_eq!(store.roster().nudged().await, [tenant("a")]);
    assert_eq!(store.roster().wish(&tenant("a")).await.unwrap(), Some((number, Wish::Unlink)));
    let lease = store.roster().acquire(&tenant("a")).await.unwrap().unwrap();
    let newest = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    assert_eq!(newest.status, ended(EndReason::Internal), "what is only wiped is not shown as connecting");
    store.journal().finish(lease, ended(EndReason::UnlinkedByUser), number).await.unwrap();
    assert_eq!(store.roster().wish(&tenant("a")).await.unwrap(), None);
}

async fn a_finish_with_a_lease_that_was_given_back_is_refused(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    store.roster().release(lease.clone()).await.unwrap();
    let before = store.journal().latest(&tenant("a")).await.unwrap().unwrap().event;
    let refused = store.journal().finish(lease, ended(EndReason::Internal), WishNo(1)).await;
    assert!(matches!(refused, Err(StoreError::Fenced)));
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event, before);
    assert!(store.roster().wish(&tenant("a")).await.unwrap().is_some());
}

async fn a_finished_session_is_not_started_again_by_a_restart(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let (wish, _) = store.roster().wish(&tenant("a")).await.unwrap().unwrap();
    store.journal().finish(lease, ended(EndReason::Banned), wish).await.unwrap();
    let store = store.reopen().await;
    assert!(store.roster().unattended(10).await.unwrap().is_empty());
    assert_eq!(store.journal().latest(&tenant("a")).await.unwrap().unwrap().event.status, ended(EndReason::Banned));
    assert!(store.roster().want(&tenant("a"), RUN).await.unwrap() > wish, "numbers go on");
    assert!(store.roster().acquire(&tenant("a")).await.unwrap().is_some());
}
