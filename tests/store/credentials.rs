use std::collections::BTreeMap;

use bytes::Bytes;
use tautan::store::{Change, PAGE_ROWS};

use crate::{
    backend::Backend,
    statuses::{starting, tenant},
};

promises![
    written_row_is_read_back_also_after_a_restart,
    write_is_atomic_and_in_order,
    table_is_separate_and_cleared_alone,
    erasing_removes_every_row_of_the_tenant_and_no_other,
    holds_is_true_if_there_is_any_row,
    tenants_and_tables_with_like_names_do_not_mix,
    rows_may_be_large_many_and_any_bytes,
    pages_hold_every_row_and_rows_are_read_in_the_keys_order,
];

fn put(table: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Change {
    Change::Put { table, key: key.into(), value: value.into() }
}

fn delete(table: &'static str, key: &'static str) -> Change {
    Change::Delete { table, key: Bytes::from(key) }
}

async fn table(store: &impl Backend, name: &str, table: &'static str) -> BTreeMap<Bytes, Bytes> {
    store.credentials().table(&tenant(name), table).await.unwrap().into_iter().collect()
}

async fn get(store: &impl Backend, name: &str, table: &'static str, key: &str) -> Option<Bytes> {
    store.credentials().get(&tenant(name), table, key.as_bytes()).await.unwrap()
}

async fn written_row_is_read_back_also_after_a_restart(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    assert_eq!(get(&store, "a", "session", "k").await, None);
    store.credentials().write(&lease, vec![put("session", "k", "one")]).await.unwrap();
    assert_eq!(get(&store, "a", "session", "k").await, Some("one".into()));
    store.credentials().write(&lease, vec![put("session", "k", "two"), put("session", "", "")]).await.unwrap();
    let store = store.reopen().await;
    assert_eq!(get(&store, "a", "session", "k").await, Some("two".into()));
    assert_eq!(get(&store, "a", "session", "").await, Some("".into()), "an empty row is a row");
    assert_eq!(get(&store, "a", "session", "other").await, None);
    assert_eq!(table(&store, "a", "session").await.len(), 2);
}

async fn write_is_atomic_and_in_order(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let changes = vec![
        put("t", "1", "a"),
        put("t", "2", "a"),
        Change::Clear { table: "t" },
        put("t", "2", "b"),
        put("t", "3", "b"),
        delete("t", "3"),
        delete("t", "never there"),
        put("t", "4", "b"),
        put("t", "4", "c"),
    ];
    store.credentials().write(&lease, changes).await.unwrap();
    let expected: BTreeMap<Bytes, Bytes> = [("2".into(), "b".into()), ("4".into(), "c".into())].into();
    assert_eq!(table(&store, "a", "t").await, expected);

    store.ownership().release(lease.clone()).await.unwrap();
    let changes = vec![put("t", "5", "x"), Change::Clear { table: "t" }, put("u", "6", "x")];
    assert!(store.credentials().write(&lease, changes).await.is_err());
    assert_eq!(table(&store, "a", "t").await, expected, "none of a refused write");
    assert!(table(&store, "a", "u").await.is_empty());
}

async fn table_is_separate_and_cleared_alone(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let changes = ["s", "sess", "session", "session2"].map(|table| put(table, "k", table));
    store.credentials().write(&lease, changes.into()).await.unwrap();
    store.credentials().write(&lease, vec![Change::Clear { table: "sess" }]).await.unwrap();
    for (name, rows) in [("s", 1), ("sess", 0), ("session", 1), ("session2", 1)] {
        assert_eq!(table(&store, "a", name).await.len(), rows, "{name}");
    }
}

async fn erasing_removes_every_row_of_the_tenant_and_no_other(store: impl Backend + Sync) {
    let lease = store.running(&tenant("ab")).await;
    let neighbours = [store.running(&tenant("a")).await, store.running(&tenant("abc")).await];
    for lease in neighbours.iter().chain([&lease]) {
        let changes = (0..100).map(|n| put(["s", "t"][n % 2], format!("{n}"), "v")).collect();
        store.credentials().write(lease, changes).await.unwrap();
    }
    store.credentials().erase(&lease).await.unwrap();
    assert!(!store.credentials().holds(&tenant("ab")).await.unwrap());
    assert!(table(&store, "ab", "s").await.is_empty());
    assert_eq!(get(&store, "ab", "t", "1").await, None);
    for name in ["a", "abc"] {
        assert_eq!(table(&store, name, "s").await.len() + table(&store, name, "t").await.len(), 100);
    }
    let newest = store.journal().latest(&tenant("ab")).await.unwrap().unwrap().event;
    assert_eq!(newest.status, starting(), "the journal is not a credential");
}

async fn holds_is_true_if_there_is_any_row(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    assert!(!store.credentials().holds(&tenant("a")).await.unwrap());
    store.credentials().write(&lease, vec![put("t", "k", "v")]).await.unwrap();
    assert!(store.credentials().holds(&tenant("a")).await.unwrap());
    assert!(!store.credentials().holds(&tenant("b")).await.unwrap());
    store.credentials().write(&lease, vec![delete("t", "k")]).await.unwrap();
    assert!(!store.credentials().holds(&tenant("a")).await.unwrap());
}

async fn tenants_and_tables_with_like_names_do_not_mix(store: impl Backend + Sync) {
    let (a, ab) = (store.running(&tenant("a")).await, store.running(&tenant("ab")).await);
    store.credentials().write(&a, vec![put("bc", "d", "1"), put("b", "cd", "2")]).await.unwrap();
    store.credentials().write(&ab, vec![put("c", "d", "3")]).await.unwrap();
    assert_eq!(get(&store, "a", "bc", "d").await, Some("1".into()));
    assert_eq!(get(&store, "a", "b", "cd").await, Some("2".into()));
    assert_eq!(get(&store, "ab", "c", "d").await, Some("3".into()));
    assert_eq!(get(&store, "a", "c", "d").await, None);
    assert_eq!(get(&store, "ab", "bc", "d").await, None);
}

async fn rows_may_be_large_many_and_any_bytes(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let mut expected: BTreeMap<Bytes, Bytes> =
        (0..=u8::MAX).map(|byte| (vec![byte, 0, byte].into(), vec![byte; usize::from(byte)].into())).collect();
    expected.insert(vec![0; 300].into(), vec![1; 300_000].into());
    let changes = expected.iter().map(|(key, value)| put("t", key.clone(), value.clone())).collect();
    store.credentials().write(&lease, changes).await.unwrap();
    assert_eq!(table(&store, "a", "t").await, expected);
    let largest = store.credentials().get(&tenant("a"), "t", &[0; 300]).await.unwrap();
    assert_eq!(largest, Some(vec![1; 300_000].into()));
}

async fn pages_hold_every_row_and_rows_are_read_in_the_keys_order(store: impl Backend + Sync) {
    let lease = store.running(&tenant("a")).await;
    let key = |n: usize| Bytes::from(format!("key-{n}"));
    let rows = (0..2_000).map(|n| put("t", key(n), vec![b'x'; 100]));
    store.credentials().write(&lease, rows.chain([put("t2", "other", "table")]).collect()).await.unwrap();
    let (mut found, mut after, mut pages) = (BTreeMap::new(), None, 0);
    loop {
        let page = store.credentials().page(&tenant("a"), "t", after).await.unwrap();
        pages += 1;
        assert!(page.rows.len() <= 4 * PAGE_ROWS, "{}", page.rows.len());
        // Rows that are removed meanwhile must not hide other rows.
        let gone = page.rows.iter().map(|(key, _)| Change::Delete { table: "t", key: key.clone() }).collect();
        store.credentials().write(&lease, gone).await.unwrap();
        found.extend(page.rows);
        after = Some(match page.next {
            Some(next) => next,
            None => break,
        });
    }
    assert_eq!(found.len(), 2_000);
    assert!((0..2_000).all(|n| found.contains_key(&key(n))));
    assert!(pages >= 4, "{pages}");
    let page = store.credentials().page(&tenant("a"), "t", None).await.unwrap();
    assert!(page.rows.is_empty() && page.next.is_none());

    let rows = (0..700).map(|n| put("t", key(n), n.to_string()));
    store.credentials().write(&lease, rows.collect()).await.unwrap();
    let asked: Vec<_> = (0..800).rev().map(key).collect();
    let answers = store.credentials().get_many(&tenant("a"), "t", &asked).await.unwrap();
    let expected: Vec<_> = (0..800).rev().map(|n| (n < 700).then(|| Bytes::from(n.to_string()))).collect();
    assert_eq!(answers, expected);
    assert!(store.credentials().get_many(&tenant("a"), "t", &[]).await.unwrap().is_empty());
}
