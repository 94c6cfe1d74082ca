//! The library's own storage in memory is the reference: [`Keys`] must return the same answers.

mod contacts;
mod saving;

use whatsapp_rust::{
    store::{AppStateSyncKey, Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry},
    wacore::{
        appstate::{hash::HashState, processor::AppStateMutationMAC},
        store::InMemoryBackend,
    },
};

use super::*;
use crate::{
    clock,
    store::{
        DesiredState, Stores,
        crypt::MasterKey,
        embedded::{EmbeddedStore, Settings},
    },
    tenant::TenantId,
};

struct Bench {
    stores: Stores,
    lease: Lease,
    _store: EmbeddedStore,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&dir.path().join("key")).unwrap();
        let settings = Settings::new(dir.path().join("store"), key);
        let store = EmbeddedStore::open(settings, clock::system()).unwrap();
        let stores = store.stores();
        let tenant = TenantId::parse("toko").unwrap();
        stores.commands.request(&tenant, DesiredState::run(None)).await.unwrap();
        let lease = stores.ownership.acquire(&tenant).await.unwrap().unwrap();
        Self { stores, lease, _store: store, _dir: dir }
    }

    fn keys(&self) -> Keys {
        Keys::new(
            self.stores.credentials.clone(),
            self.lease.clone(),
            None,
            Arc::new(Termination::default()),
            Arc::new(Progress::new(Stage::Linked)),
            Duration::from_secs(5),
            Arc::default(),
        )
    }
}

fn mapping(lid: &str, phone: &str) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.into(),
        phone_number: phone.into(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".into(),
    }
}

fn secret(id: &str, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: "chat".into(),
        sender: "sender".into(),
        msg_id: id.into(),
        secret: [id.len() as u8; 32],
        expires_at,
        message_ts,
    }
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

/// The answers of a storage to a long list of calls.
async fn conversation(b: &dyn Backend) -> Vec<String> {
    let mut answers = Vec::new();
    macro_rules! record {
        ($answer:expr) => {
            answers.push(format!("{}: {:?}", line!(), $answer.await.unwrap()))
        };
    }
    let address = |name: &str| -> Arc<str> { name.into() };

    record!(b.load_identity("a@lid"));
    record!(b.put_identity("a@lid", [1; 32]));
    record!(b.put_identities_batch(&[(address("b@lid"), [2; 32]), (address("a@lid"), [3; 32])]));
    record!(b.load_identity("a@lid"));
    record!(b.delete_identity("a@lid"));
    record!(b.load_identity("a@lid"));
    record!(b.load_identity("b@lid"));

    record!(b.put_session("a@lid", b"one"));
    record!(b.put_sessions_batch(&[(address("a@lid"), Bytes::from_static(b"two")), (address("b@lid"), Bytes::new())]));
    record!(b.get_session("a@lid"));
    record!(b.has_session("b@lid"));
    record!(b.delete_session("a@lid"));
    record!(b.has_session("a@lid"));

    record!(b.has_signal_state_for_user("62811"));
    record!(b.put_session("62811:3@c.us.0", b"three"));
    record!(b.has_signal_state_for_user("62811"));
    record!(b.has_signal_state_for_user("6281"));
    record!(b.delete_session("62811:3@c.us.0"));
    record!(b.put_identity("62811@hosted.0", [9; 32]));
    record!(b.has_signal_state_for_user("62811"));
    record!(b.delete_identity("62811@hosted.0"));
    record!(b.has_signal_state_for_user("62811"));

    record!(b.get_max_prekey_id());
    record!(b.store_prekey(7, b"seven", false));
    record!(b.store_prekeys_batch(&[(300, Bytes::from_static(b"x")), (9, Bytes::from_static(b"nine"))], true));
    record!(b.mark_prekeys_uploaded(&[7, 8]));
    record!(b.load_prekey(8));
    record!(b.load_prekeys_batch(&[7, 8, 9]));
    record!(b.get_max_prekey_id());
    record!(b.remove_prekey(300));
    record!(b.get_max_prekey_id());
    record!(b.store_signed_prekey(1, b"signed"));
    record!(b.store_signed_prekey(2, b"again"));
    answers.push(format!("{:?}", sorted(b.load_all_signed_prekeys().await.unwrap())));
    record!(b.remove_signed_prekey(1));
    record!(b.load_signed_prekey(1));
    record!(b.load_signed_prekey(2));
    record!(b.put_sender_key("g::a", b"key"));
    record!(b.put_sender_keys_batch(&[(address("g::b"), Bytes::from_static(b"kb"))]));
    record!(b.delete_sender_key("g::a"));
    record!(b.get_sender_key("g::a"));
    record!(b.get_sender_key("g::b"));

    let key = AppStateSyncKey { key_data: vec![1], fingerprint: vec![2], timestamp: 3 };
    record!(b.get_latest_sync_key_id());
    record!(b.set_sync_key(b"k1", key.clone()));
    record!(b.set_sync_key(b"k2", key));
    record!(b.get_sync_key(b"k1"));
    record!(b.get_sync_key(b"k3"));
    record!(b.get_latest_sync_key_id());
    record!(b.get_version("regular"));
    let state = HashState { version: 4, ..HashState::default() };
    record!(b.set_version("regular", state));
    record!(b.get_version("regular"));
    let mac = |n: u8| AppStateMutationMAC { index_mac: vec![n; 32], value_mac: vec![n] };
    record!(b.put_mutation_macs("regular", 1, &[mac(1), mac(2), mac(3)]));
    record!(b.put_mutation_macs("regular_low", 1, &[mac(1)]));
    record!(b.delete_mutation_macs("regular", &[vec![2; 32], vec![9; 32]]));
    record!(b.get_mutation_mac("regular", &[1; 32]));
    record!(b.get_mutation_mac("regular", &[2; 32]));
    let macs = b.get_mutation_macs("regular", &[[1; 32], [2; 32], [3; 32]]).await.unwrap();
    answers.push(format!("{:?}", sorted(macs.into_iter().collect())));
    record!(b.clear_mutation_macs("regular"));
    record!(b.get_mutation_mac("regular", &[1; 32]));
    record!(b.get_mutation_mac("regular_low", &[1; 32]));

    record!(b.set_sender_key_status("g1", &[("d1", true), ("d2", false)]));
    record!(b.set_sender_key_status("g1", &[("d2", true), ("d3", true)]));
    record!(b.set_sender_key_status("g2", &[("d2", true)]));
    answers.push(format!("{:?}", sorted(b.get_sender_key_devices("g1").await.unwrap())));
    record!(b.delete_sender_key_device_rows(&["d2", "d9"]));
    answers.push(format!("{:?}", sorted(b.get_sender_key_devices("g1").await.unwrap())));
    record!(b.get_sender_key_devices("g2"));
    record!(b.clear_sender_key_devices("g1"));
    record!(b.get_sender_key_devices("g1"));
    record!(b.set_sender_key_status("g2", &[("d4", true)]));
    record!(b.clear_all_sender_key_devices());
    record!(b.get_sender_key_devices("g2"));

    record!(b.put_lid_mapping(&mapping("l1", "111")));
    record!(b.put_lid_mappings(&[mapping("l1", "222"), mapping("l2", "333"), mapping("l2", "444")]));
    for phone in ["111", "222", "333", "444", "555"] {
        record!(b.get_pn_mapping(phone));
    }
    record!(b.get_lid_mapping("l2"));

    record!(b.save_base_key("a", "m", b"base"));
    record!(b.has_same_base_key("a", "m", b"base"));
    record!(b.has_same_base_key("a", "m", b"other"));
    record!(b.delete_base_key("a", "m"));
    record!(b.has_same_base_key("a", "m", b"base"));

    let list = |user: &str, id| DeviceListRecord {
        user: user.into(),
        devices: vec![DeviceInfo::new(id, Some(1))],
        timestamp: 5,
        phash: Some("p".into()),
        raw_id: None,
    };
    record!(b.update_device_list(list("u1", 1)));
    record!(b.update_device_lists(vec![list("u1", 2), list("u2", 3)]));
    record!(b.get_devices("u1"));
    record!(b.delete_devices("u1"));
    record!(b.get_devices("u1"));
    record!(b.get_devices("u2"));

    let token = |at| TcTokenEntry { token: vec![7], token_timestamp: at, sender_timestamp: None };
    record!(b.put_tc_token("t1", &token(10)));
    record!(b.touch_tc_token_sender_timestamp("t1", 20));
    record!(b.touch_tc_token_sender_timestamp("t1", 15));
    record!(b.store_received_tc_token("t1", b"old", 9));
    record!(b.get_tc_token("t1"));
    record!(b.store_received_tc_token("t1", b"new", 11));
    record!(b.get_tc_token("t1"));
    record!(b.touch_tc_token_sender_timestamp("t2", 30));
    record!(b.store_received_tc_token("t2", b"first", 1));
    record!(b.get_tc_token("t2"));
    record!(b.put_tc_token("t3", &token(2)));
    answers.push(format!("{:?}", sorted(b.get_all_tc_token_jids().await.unwrap())));
    record!(b.delete_expired_tc_tokens(5, 25));
    record!(b.delete_expired_tc_tokens(12, 25));
    record!(b.delete_tc_token("t2"));
    answers.push(format!("{:?}", sorted(b.get_all_tc_token_jids().await.unwrap())));

    record!(b.store_sent_message("c", "1", b"sent"));
    record!(b.take_sent_message("c", "1"));
    record!(b.take_sent_message("c", "1"));

    record!(b.put_msg_secrets(vec![secret("1", 100, 5), secret("22", 0, 0), secret("333", 200, 9)]));
    record!(b.put_msg_secrets(vec![secret("1", 50, 7), secret("333", 0, 0)]));
    record!(b.put_msg_secret("chat", "sender", "4444", &[4; 32]));
    record!(b.delete_expired_msg_secrets(99));
    record!(b.get_msg_secret_with_ts("chat", "sender", "1"));
    record!(b.delete_expired_msg_secrets(100));
    for id in ["1", "22", "333", "4444"] {
        record!(b.get_msg_secret("chat", "sender", id));
        record!(b.get_msg_secret_with_ts("chat", "sender", id));
    }
    answers
}

#[tokio::test]
async fn keys_answer_as_the_librarys_own_storage_does() {
    let bench = Bench::new().await;
    let ours = conversation(&bench.keys()).await;
    let theirs = conversation(&InMemoryBackend::new()).await;
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn lasting_rows_are_there_for_the_next_process() {
    let bench = Bench::new().await;
    let first: &dyn Backend = &bench.keys();
    first.put_session("a@lid", b"ratchet").await.unwrap();
    first.store_sent_message("c", "1", b"a text").await.unwrap();
    let second: &dyn Backend = &bench.keys();
    assert_eq!(second.get_session("a@lid").await.unwrap().as_deref(), Some(&b"ratchet"[..]));
    assert_eq!(second.take_sent_message("c", "1").await.unwrap(), None, "texts are never stored");
}

#[tokio::test]
async fn message_secrets_are_bounded() {
    let bench = Bench::new().await;
    let keys = bench.keys();
    let b: &dyn Backend = &keys;
    for batch in 0..30_i64 {
        let entries = (0..50).map(|n| secret(&format!("{batch}-{n}"), 0, batch * 50 + n + 1)).collect();
        b.put_msg_secrets(entries).await.unwrap();
    }
    let rows = keys.table("secret").await.unwrap().len();
    assert!((768..=1024).contains(&rows), "{rows}");
    assert!(b.get_msg_secret("chat", "sender", "29-49").await.unwrap().is_some(), "the newest stay");
    assert!(b.get_msg_secret("chat", "sender", "0-0").await.unwrap().is_none(), "the oldest go");
}

#[tokio::test]
async fn device_that_is_not_paired_is_never_saved() {
    let bench = Bench::new().await;
    let b: &dyn Backend = &bench.keys();
    let device = whatsapp_rust::wacore::store::Device::new();
    b.save(&device).await.unwrap();
    assert!(b.load().await.unwrap().is_none());
    assert!(!bench.stores.credentials.holds(bench.lease.tenant()).await.unwrap());
}

#[tokio::test]
async fn nothing_is_kept_once_the_device_is_given_up() {
    let bench = Bench::new().await;
    let keys = bench.keys();
    let b: &dyn Backend = &keys;
    b.put_session("a@lid", b"ratchet").await.unwrap();
    keys.forget().await.unwrap();
    b.put_session("a@lid", b"ratchet").await.unwrap_err();
    assert!(!bench.stores.credentials.holds(bench.lease.tenant()).await.unwrap());
}

#[tokio::test]
async fn fenced_write_ends_the_link_without_a_signal() {
    let bench = Bench::new().await;
    let keys = bench.keys();
    bench.stores.ownership.release(bench.lease.clone()).await.unwrap();
    let b: &dyn Backend = &keys;
    b.put_session("a@lid", b"ratchet").await.unwrap_err();
    assert_eq!(keys.termination.end(), Some(End::LeaseLost));
}

#[test]
fn parts_of_a_key_cannot_be_confused() {
    assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
    assert_ne!(joined(&[b"a", b""]), joined(&[b"a"]));
}
