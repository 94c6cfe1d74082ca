//! How often a tenant's users may send requests that reach other people.

use std::{path::Path, sync::Arc, time::Duration};

use tautan::{
    clock,
    events::PhoneNumber,
    limit::Limit,
    store::{
        DesiredState, FORGET_AFTER, Limited, Limits, StoreError, Stores,
        embedded::{EmbeddedStore, Settings},
        redis::{RedisStore, Settings as RedisSettings},
    },
};

use crate::{
    backend::{Backend, instance, key, redis_settings, settings},
    redis::with_redis,
    statuses::tenant,
};

promises![
    pairing_codes_are_refused_after_five,
    connections_are_refused_after_ten,
    repeated_request_is_free,
    code_is_refused_when_its_number_had_three,
    repeated_unlink_changes_nothing,
];

const RUN: DesiredState = DesiredState::run(None);
const TEN_MINUTES: Duration = Duration::from_secs(600);

fn by_code(number: usize) -> DesiredState {
    DesiredState::run(Some(PhoneNumber::parse(&format!("62812345{number:04}")).unwrap()))
}

/// The limit that refuses the request; `None`: the request is saved.
async fn refused(stores: &Stores, name: &str, desired: DesiredState) -> Option<Limited> {
    match stores.commands.request(&tenant(name), desired).await {
        Ok(_) => None,
        Err(StoreError::Limited { limited, wait }) => {
            assert!(wait > Duration::ZERO && wait <= TEN_MINUTES, "{wait:?}");
            Some(limited)
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// One tenant made 119 requests for 119 foreign numbers in 10 s, each of which rang on a stranger's phone.
async fn pairing_codes_are_refused_after_five(store: impl Backend + Sync) {
    let stores = store.stores();
    for number in 0..5 {
        assert_eq!(refused(stores, "a", by_code(number)).await, None, "{number}");
    }
    assert_eq!(refused(stores, "a", by_code(5)).await, Some(Limited::PairCodes));
    let (_, kept) = stores.commands.current(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(kept, by_code(4), "a refused request leaves nothing");
    assert_eq!(refused(stores, "a", RUN).await, None, "a QR code needs no number");
    assert_eq!(refused(stores, "b", by_code(5)).await, None, "another tenant");
    assert_eq!(refused(stores, "a", DesiredState::Unlink).await, None);
}

/// 149 pairs of connect and disconnect made 149 dials in 10 s.
async fn connections_are_refused_after_ten(store: impl Backend + Sync) {
    let stores = store.stores();
    for dial in 0..10 {
        assert_eq!(refused(stores, "a", RUN).await, None, "{dial}");
        assert_eq!(refused(stores, "a", DesiredState::Unlink).await, None, "{dial}");
    }
    assert_eq!(refused(stores, "a", RUN).await, Some(Limited::Dials));
    assert_eq!(refused(stores, "a", by_code(0)).await, Some(Limited::Dials));
    let (_, kept) = stores.commands.current(&tenant("a")).await.unwrap().unwrap();
    assert_eq!(kept, DesiredState::Unlink, "a refused request leaves nothing");
    for _ in 0..20 {
        assert_eq!(refused(stores, "a", DesiredState::Unlink).await, None, "disconnect is never refused");
    }
    assert_eq!(refused(stores, "b", RUN).await, None, "another tenant");
}

async fn repeated_request_is_free(store: impl Backend + Sync) {
    let stores = store.stores();
    for _ in 0..30 {
        assert_eq!(refused(stores, "plain", RUN).await, None);
        assert_eq!(refused(stores, "code", by_code(0)).await, None);
    }
    for number in 1..5 {
        assert_eq!(refused(stores, "code", by_code(number)).await, None, "{number}");
    }
    assert_eq!(refused(stores, "code", by_code(5)).await, Some(Limited::PairCodes), "the repetitions were free");
}

async fn code_is_refused_when_its_number_had_three(store: impl Backend + Sync) {
    let number = |last: char| PhoneNumber::parse(&format!("62812345678{last}")).unwrap();
    let commands = store.commands();
    for _ in 0..3 {
        assert!(commands.count_code(&number('1')).await.unwrap());
    }
    assert!(!commands.count_code(&number('1')).await.unwrap());
    assert!(commands.count_code(&number('2')).await.unwrap(), "another number");
}

/// "disconnect" has no limit. Thousands in a second made so many versions of the record that its owner could append
/// nothing.
async fn repeated_unlink_changes_nothing(store: impl Backend + Sync) {
    let stores = store.stores();
    let a = tenant("a");
    let _owner = store.running(&a).await;
    let unlink = || stores.commands.request(&a, DesiredState::Unlink);
    let first = unlink().await.unwrap();
    for _ in 0..20 {
        assert_eq!(unlink().await.unwrap(), first, "the owner has still to do it");
    }
    let again = stores.commands.request(&a, RUN).await.unwrap();
    assert!(again > first);
    assert!(unlink().await.unwrap() > again, "the user changed their mind in between");
}

/// Two dials in a time, which is short in the tests.
fn two_dials(per: Duration) -> Limits {
    Limits { dials: Limit::new(2, per).unwrap(), ..Limits::default() }
}

async fn dial(stores: &Stores) -> Option<Limited> {
    let refused = refused(stores, "a", RUN).await;
    stores.commands.request(&tenant("a"), DesiredState::Unlink).await.unwrap();
    refused
}

/// The second dial comes later than the first one, so that the two do not end at once.
async fn is_free_after(stores: &Stores, per: Duration) {
    assert_eq!(dial(stores).await, None);
    tokio::time::sleep(per / 2).await;
    assert_eq!(dial(stores).await, None);
    assert_eq!(dial(stores).await, Some(Limited::Dials));
    tokio::time::sleep(per / 2).await;
    assert_eq!(dial(stores).await, None, "the first one counts no more");
}

fn embedded(dir: &Path, limits: Limits) -> EmbeddedStore {
    EmbeddedStore::open(Settings { limits, ..settings(dir) }, clock::system()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_limit_ends_with_its_time() {
    let (dir, per) = (tempfile::tempdir().unwrap(), Duration::from_secs(3));
    is_free_after(&embedded(dir.path(), two_dials(per)).stores(), per).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_shared_by_the_instances() {
    with_redis(async |redis| {
        let other = instance(&redis.server).stores();
        for number in 0..10 {
            let stores = if number % 2 == 0 { redis.stores() } else { &other };
            assert_eq!(dial(stores).await, None, "{number}");
        }
        assert_eq!((dial(redis.stores()).await, dial(&other).await), (Some(Limited::Dials), Some(Limited::Dials)));
        let left = redis.server.ask(&["PTTL", "tautan:{0}:{a}:used-dials"]);
        let left: u64 = str::from_utf8(&left).unwrap().lines().next().unwrap().trim_start_matches(':').parse().unwrap();
        assert!((500_000..=600_000).contains(&left), "its list goes by itself: {left}");

        let per = Duration::from_secs(3);
        let (limits, forget_after) = (two_dials(per), FORGET_AFTER);
        let short = RedisSettings { limits, forget_after, ..redis_settings(&redis.server.url(), key(), None) };
        redis.server.ask(&["DEL", "tautan:{0}:{a}:used-dials"]);
        is_free_after(&RedisStore::open(short, Arc::new(clock::SystemClock)).stores(), per).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_a_number_are_counted_over_instances_by_its_hash() {
    with_redis(async |redis| {
        let other = instance(&redis.server).stores();
        let number = PhoneNumber::parse("6281234567890").unwrap();
        for stores in [redis.stores(), &other, redis.stores()] {
            assert!(stores.commands.count_code(&number).await.unwrap());
        }
        assert!(!other.commands.count_code(&number).await.unwrap());
        let keys = String::from_utf8(redis.server.ask(&["KEYS", "tautan:{0}:number:*"])).unwrap();
        let key = keys.lines().find(|line| line.starts_with("tautan:")).expect("it is counted");
        assert_eq!(key.len(), "tautan:{0}:number:".len() + 64, "{key}");
        let list = String::from_utf8(redis.server.ask(&["LRANGE", key, "0", "-1"])).unwrap();
        assert!(![&keys, &list].into_iter().any(|text| text.contains("81234567890")), "{keys}{list}");
    })
    .await;
}
