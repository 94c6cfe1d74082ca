use proptest::prelude::*;

use super::*;
use crate::{
    events::{EventId, JournalId},
    fuzz::{COSTLY, check, text},
    store::crypt::MasterKey,
};

fn keys(byte: u8) -> TenantKeys {
    TenantKeys::new(&MasterKey::from([byte; 32]), &TenantId::parse("a").unwrap())
}

fn rows(keys: &TenantKeys) -> [(&'static str, Vec<u8>); 3] {
    let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence: 1 } };
    let event = KeptEvent::of(&Event::after(None, id, Timestamp::UNIX_EPOCH, starting()), None);
    let desired = KeptDesired { number: 7, unsettled: Some(DesiredState::Unlink), idle_since: Some(5) };
    [
        ("event", event.seal(keys)),
        ("desired", desired.seal(keys)),
        ("row", seal_row(keys, "device", b"key", b"value").1),
    ]
}

fn opens(keys: &TenantKeys, kind: &str, sealed: &[u8]) -> bool {
    match kind {
        "event" => KeptEvent::open(keys, sealed).is_ok() || KeptEvent::acknowledged(keys, sealed).is_ok(),
        "desired" => KeptDesired::open(keys, sealed).is_ok(),
        _ => open_row(keys, "device", &keys.row("device", b"key"), sealed).is_some(),
    }
}

#[test]
fn row_of_the_file_opens_with_no_bit_changed() {
    for (kind, sealed) in rows(&keys(1)) {
        assert!(opens(&keys(1), kind, &sealed) && !opens(&keys(2), kind, &sealed), "{kind}");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&keys(1), kind, &changed), "{kind} with bit {bit} changed");
        }
    }
    let keys = keys(1);
    check("sealed-rows", COSTLY, prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        for kind in ["event", "desired", "row"] {
            assert!(!opens(&keys, kind, &bytes), "{kind}");
            assert!(!opens(&keys, kind, &[&[1][..], &bytes].concat()), "{kind}");
        }
    });
}

#[test]
fn row_of_another_version_is_damaged_not_of_another_key() {
    const PIECES: &[&str] =
        &["{\"event\":", "{", "}", "\"number\":1", "\"unsettled\":null", ",", "null", "[", "7", "\u{0}"];
    let keys = keys(1);
    check("plain-rows-of-the-file", COSTLY / 4, text(PIECES), |plain| {
        let errors = [
            KeptEvent::open(&keys, &keys.seal(JOURNAL_LOCATION, plain.as_bytes())).err(),
            KeptEvent::acknowledged(&keys, &keys.seal(JOURNAL_LOCATION, plain.as_bytes())).err(),
            KeptDesired::open(&keys, &keys.seal(DESIRED_LOCATION, plain.as_bytes())).err(),
        ];
        for error in errors.iter().flatten() {
            assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
        }
    });
}

#[test]
fn row_that_is_no_object_is_not_acknowledged() {
    let keys = keys(1);
    for plain in ["7", "[]", "\"x\"", "null"] {
        let settled = KeptEvent::acknowledged(&keys, &keys.seal(JOURNAL_LOCATION, plain.as_bytes()));
        assert!(matches!(settled, Err(StoreError::Damaged(_))), "{plain}");
    }
}
