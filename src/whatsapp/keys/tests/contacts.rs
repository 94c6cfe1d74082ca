//! The storage that grows with an account's contacts.

use whatsapp_rust::{
    CacheStore as _,
    store::ProtocolStore as _,
    wacore::types::{LearningSource, LidPnEntry},
};

use super::*;

fn lid(n: usize) -> String {
    format!("lid-{n}")
}

fn phone(n: usize) -> String {
    format!("62811{n:06}")
}

async fn known(mappings: &Mappings, namespace: &str, key: &str) -> Option<LidPnEntry> {
    let row = mappings.get(namespace, key).await.unwrap()?;
    Some(serde_json::from_slice(&row).expect("as the library writes it"))
}

/// More contacts than any cache holds.
const CONTACTS: usize = 5_000;

async fn with_contacts() -> (Bench, Arc<Keys>) {
    let bench = Bench::new().await;
    let keys = Arc::new(bench.keys());
    let contacts: Vec<_> = (0..CONTACTS).map(|n| mapping(&lid(n), &phone(n))).collect();
    for some in contacts.chunks(1_000) {
        keys.put_lid_mappings(some).await.unwrap();
    }
    (bench, keys)
}

#[tokio::test]
async fn every_kept_mapping_is_found_however_many_there_are() {
    let (_bench, keys) = with_contacts().await;
    assert!(keys.get_all_lid_mappings().await.unwrap().is_empty(), "none is read before it is asked for");
    let mappings = Mappings::new(keys);
    for _ in 0..2 {
        for n in 0..CONTACTS {
            for (namespace, key) in [("lid_pn_by_lid", lid(n)), ("lid_pn_by_pn", phone(n))] {
                let entry = known(&mappings, namespace, &key).await.expect("it is kept");
                assert_eq!((entry.lid.to_string(), entry.phone_number.to_string()), (lid(n), phone(n)));
                assert_eq!((entry.created_at, entry.learning_source), (1, LearningSource::Usync));
            }
        }
    }
    assert!(known(&mappings, "lid_pn_by_lid", "nobody").await.is_none());
}

#[tokio::test]
async fn newest_word_of_the_library_counts_before_what_is_kept() {
    let (_bench, keys) = with_contacts().await;
    let mappings = Mappings::new(keys);
    assert!(known(&mappings, "lid_pn_by_pn", "new").await.is_none());
    let entry = LidPnEntry::new("lid-new".to_owned(), "new".to_owned(), LearningSource::Other);
    mappings.set("lid_pn_by_pn", "new", &serde_json::to_vec(&entry).unwrap(), None).await.unwrap();
    assert_eq!(&*known(&mappings, "lid_pn_by_pn", "new").await.unwrap().lid, "lid-new");
    mappings.delete("lid_pn_by_pn", "new").await.unwrap();
    assert!(known(&mappings, "lid_pn_by_pn", "new").await.is_none(), "the credential store has none");
    let moved = LidPnEntry::new("lid-moved".to_owned(), phone(1), LearningSource::Usync);
    mappings.set("lid_pn_by_pn", &phone(1), &serde_json::to_vec(&moved).unwrap(), None).await.unwrap();
    assert_eq!(&*known(&mappings, "lid_pn_by_pn", &phone(1)).await.unwrap().lid, "lid-moved");
}

#[tokio::test]
async fn tables_of_many_rows_are_cleaned_in_parts() {
    let bench = Bench::new().await;
    let keys = bench.keys();
    let b: &dyn Backend = &keys;
    let macs: Vec<_> = (0..2_000_u32)
        .map(|n| {
            let mut index_mac = vec![0; 32];
            index_mac[..4].copy_from_slice(&n.to_be_bytes());
            AppStateMutationMAC { index_mac, value_mac: vec![1] }
        })
        .collect();
    b.put_mutation_macs("regular", 1, &macs).await.unwrap();
    b.put_mutation_macs("regular_low", 1, &macs[..1]).await.unwrap();
    b.clear_mutation_macs("regular").await.unwrap();
    assert_eq!(keys.table("sync-mac").await.unwrap().len(), 1);
    let tokens = (0..1_000).map(|n| {
        let entry = TcTokenEntry { token: vec![7], token_timestamp: n, sender_timestamp: None };
        put("tc-token", text(&n.to_string()), to_json(&entry).unwrap())
    });
    keys.write(tokens.collect()).await.unwrap();
    assert_eq!(b.get_all_tc_token_jids().await.unwrap().len(), 1_000);
    assert_eq!(b.delete_expired_tc_tokens(900, 0).await.unwrap(), 900);
    assert_eq!(keys.table("tc-token").await.unwrap().len(), 100);
}
