use tautan::{clock::Timestamp, store::Release};

use crate::backend::Backend;

promises![
    there_is_no_release_before_one_was_looked_up,
    the_release_that_was_kept_last_is_read_back_also_after_a_restart,
];

fn release(revision: u32) -> Release {
    Release { version: (2, 3000, revision), at: Timestamp::from_second(1_800_000_000).unwrap() }
}

async fn there_is_no_release_before_one_was_looked_up(store: impl Backend + Sync) {
    assert_eq!(store.releases().release().await.unwrap(), None);
}

async fn the_release_that_was_kept_last_is_read_back_also_after_a_restart(store: impl Backend + Sync) {
    for revision in [2, 1] {
        store.releases().keep_release(release(revision)).await.unwrap();
        assert_eq!(store.releases().release().await.unwrap(), Some(release(revision)));
    }
    let store = store.reopen().await;
    assert_eq!(store.releases().release().await.unwrap(), Some(release(1)));
}
