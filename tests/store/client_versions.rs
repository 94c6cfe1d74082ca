use tautan::{clock::Timestamp, store::ClientVersion};

use crate::backend::Backend;

promises![client_version_is_absent_before_a_lookup, client_version_kept_last_is_read_back_after_a_restart,];

fn version(revision: u32) -> ClientVersion {
    ClientVersion { version: (2, 3000, revision), at: Timestamp::from_second(1_800_000_000).unwrap() }
}

async fn client_version_is_absent_before_a_lookup(store: impl Backend + Sync) {
    assert_eq!(store.client_versions().client_version().await.unwrap(), None);
}

async fn client_version_kept_last_is_read_back_after_a_restart(store: impl Backend + Sync) {
    for revision in [2, 1] {
        store.client_versions().keep_client_version(version(revision)).await.unwrap();
        assert_eq!(store.client_versions().client_version().await.unwrap(), Some(version(revision)));
    }
    let store = store.reopen().await;
    assert_eq!(store.client_versions().client_version().await.unwrap(), Some(version(1)));
}
