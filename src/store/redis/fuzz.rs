//! Any answer of Redis: none panics, and a damaged one is not reported as a wrong key.

use std::cell::Cell;

use proptest::prelude::*;
use redis::{FromRedisValue, RedisError, Value, from_redis_value_ref};

use super::{
    client::failure::Failure,
    encryption::sealed::{Message, Seals, parse_stream_id, stream_id},
    journal::read::{ReadAnswer, Reading},
    membership::Beat,
    schema,
    script::{Answer, with_heard},
};
use crate::{
    clock::Timestamp,
    events::{Cursor, EndReason, Event, EventId, JournalId, PairingId, QrCode, Status},
    fuzz::{CHEAP, COSTLY, bytes, check, check_bytes, text},
    store::{
        DesiredState, StoreError,
        crypt::{MasterKey, MasterKeys, RowLocation},
    },
    tenant::TenantId,
};

fn keys(byte: u8) -> MasterKeys {
    MasterKeys { current: MasterKey::from([byte; 32]), previous: Some(MasterKey::from([byte + 1; 32])) }
}

fn tenant() -> TenantId {
    TenantId::parse("toko").unwrap()
}

fn seals(byte: u8) -> Seals {
    Seals::new(&keys(byte), &tenant(), true)
}

fn event(sequence: u64) -> Event {
    let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence } };
    Event::after(None, id, Timestamp::UNIX_EPOCH, Status::ended(EndReason::Cancelled))
}

/// Any text, encrypted with the tenant's own key for the place of an event or a desired state.
fn sealed(place: RowLocation<'_>, plain: &[u8]) -> Vec<u8> {
    keys(1).tenant(&tenant()).seal(place, plain)
}

fn event_place(id: &str) -> RowLocation<'_> {
    RowLocation { table: "event", row: id.as_bytes() }
}

/// The words and numbers in answers of Redis.
const WORDS: &[&[u8]] = &[
    b"done",
    b"again",
    b"fenced",
    b"overtaken",
    b"unregistered",
    b"limited",
    b"taken",
    b"later",
    b"none",
    b"dials 60000",
    b"pair-codes ",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-1",
    b"0",
    b"1",
    b"1-1",
    b"1-18446744073709551615",
    b"18446744073709551615-1",
    b"-",
    b" ",
    b"\n",
    b"version",
    b"generation",
    b"desired",
    b"run",
    b"owner_incarnation",
    b"owner_nonce",
    b"doubted",
    b"ffffffffffffffffffffffffffffffff",
    b"\xff",
];

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => bytes(WORDS).prop_map(Value::BulkString),
        2 => prop_oneof![Just(0), Just(1), Just(-1), Just(i64::MAX)].prop_map(Value::Int),
        1 => Just(Value::Nil),
        1 => Just(Value::Okay),
        1 => "[a-z]{0,5}".prop_map(Value::SimpleString),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => any::<f64>().prop_map(Value::Double),
    ];
    leaf.prop_recursive(4, 24, 8, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            1 => prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
        ]
    })
}

/// The answer of `scripts/read.lua`, with any value in place of its parts.
fn readings() -> impl Strategy<Value = Value> {
    let bulk = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
    let row = prop_oneof![
        bytes(WORDS),
        Just(sealed(event_place("1-1"), &serde_json::to_vec(&event(1)).unwrap())),
        Just(sealed(event_place("1-2"), &serde_json::to_vec(&event(2)).unwrap())),
        Just(sealed(event_place("1-2"), b"{\"journal\":7}")),
        Just(sealed(RowLocation { table: "desired", row: &7_u64.to_be_bytes() }, b"{\"Sleep\":true}")),
        Just(vec![1; 60]),
    ];
    let field = || prop_oneof![3 => prop::sample::select(WORDS).prop_map(<[u8]>::to_vec), 1 => bytes(WORDS)];
    let fields = prop::collection::vec(prop_oneof![2 => field(), 1 => row.clone()], 0..10)
        .prop_map(move |fields| Value::Array(fields.iter().map(|field| bulk(field)).collect()));
    let id = prop_oneof![2 => Just(b"1-1".to_vec()), 2 => Just(b"1-2".to_vec()), 1 => field()];
    let code = prop_oneof![3 => Just(Vec::new()), 1 => row.clone()];
    let entry = (id, row, code, any::<bool>()).prop_map(move |(id, kept, code, coded)| {
        Value::Array([id, kept, code, vec![b'0' + u8::from(coded)]].map(Value::BulkString).into())
    });
    let entries = prop::collection::vec(entry, 0..4).prop_map(Value::Array);
    let part = move |good: BoxedStrategy<Value>| prop_oneof![30 => good, 1 => values()];
    let number = || prop_oneof![Just(Value::Int(0)), Just(Value::Int(1)), Just(Value::Nil)].boxed();
    (part(fields.boxed()), part(number()), part(entries.boxed()), part(number()))
        .prop_map(|(fields, known, entries, credentials)| Value::Array(vec![fields, known, entries, credentials]))
}

fn parsed<T: FromRedisValue>(value: &Value) -> Result<T, StoreError> {
    from_redis_value_ref(value).map_err(|error| Failure::from(RedisError::from(error)).into())
}

fn is_no_key(error: &StoreError) {
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
}

#[test]
fn reading_of_any_answer_is_a_record_or_a_damage() {
    let seals = seals(1);
    let (good, bad) = (Cell::new(0), Cell::new(0));
    let journal = prop::option::of(prop::sample::select(vec![7, 8]));
    check("readings", CHEAP, (readings(), journal), |(value, journal)| {
        let journal = journal.map(JournalId::new);
        let read = parsed::<ReadAnswer>(&value).and_then(|answer| {
            let ids: Vec<String> = answer.2.iter().map(|(id, ..)| id.clone()).collect();
            let reading = Reading::of(answer, journal, &seals, Timestamp::UNIX_EPOCH, |_, _| {})?;
            Ok((ids, reading))
        });
        match read {
            Err(error) => {
                is_no_key(&error);
                bad.set(bad.get() + 1);
            }
            Ok((ids, reading)) => {
                assert_eq!(reading.record.newest.is_some(), !ids.is_empty(), "the newest stands, read or not");
                let newest = reading.record.newest.as_ref().map(|newest| newest.cursor);
                assert_eq!(newest, ids.last().and_then(|id| parse_stream_id(id)));
                let (backlog, seen) = reading.backlog();
                assert_eq!(backlog.is_empty(), ids.is_empty());
                assert_eq!(seen, newest);
                good.set(good.get() + 1);
            }
        }
    });
    assert!(good.get() > 0 && bad.get() > 0, "{good:?} were read, {bad:?} were not");
}

#[test]
fn answer_of_any_script_is_known_or_a_damage() {
    let answer = prop_oneof![
        1 => values(),
        3 => (bytes(WORDS), bytes(WORDS))
            .prop_map(|(word, value)| Value::Array(vec![Value::BulkString(word), Value::BulkString(value)])),
        3 => (prop::sample::select(WORDS), bytes(WORDS))
            .prop_map(|(word, value)| Value::Array(vec![Value::BulkString(word.to_vec()), Value::BulkString(value)])),
    ];
    check("answers", CHEAP, answer, |value| {
        let answer = parsed::<(String, String)>(&value).and_then(|pair| Ok(Answer::try_from(pair)?));
        match answer {
            Ok(Answer::Done(value)) => _ = with_heard(&value),
            Ok(Answer::Limited(limited, wait)) => {
                assert!(matches!(limited.after(wait), StoreError::Limited { .. }));
            }
            Ok(Answer::Again | Answer::Fenced | Answer::Overtaken | Answer::Unregistered | Answer::Moved) => {}
            Err(error) => is_no_key(&error),
        }
        // What other scripts answer, and the commands beside them.
        type Taken = (String, String, String, String, String, Vec<u8>);
        let errors = [
            parsed::<Taken>(&value).err(),
            parsed::<(String, Vec<Vec<u8>>)>(&value).err(),
            parsed::<u8>(&value).err(),
            parsed::<(Vec<(Vec<u8>, Vec<u8>)>,)>(&value).err(),
            parsed::<(Option<u64>, Option<u64>)>(&value).err(),
            parsed::<Vec<Option<String>>>(&value).err(),
        ];
        errors.iter().flatten().for_each(is_no_key);
    });
}

#[test]
fn message_on_a_channel_is_ours_or_none() {
    let seals = seals(1);
    let ours = seals.outgoing(None, &event(1), Some("owner")).into_message();
    check_bytes("messages", CHEAP, WORDS, |bytes| {
        if let Some(message) = seals.open_message(bytes) {
            assert!(matches!(message, Message::Refresh) && bytes == b"refresh");
        }
        let text = String::from_utf8_lossy(bytes);
        _ = Beat::of(&text);
        if let Some(tenant) = schema::tenant_of_events(&text) {
            assert_eq!(schema::events(&tenant), text);
        }
        // Another header before what is sealed: it opens under the id that it was sealed for alone.
        let end = ours.iter().position(|byte| *byte == b'\n').unwrap();
        if let Some(Message::Event { event, .. }) = seals.open_message(&[bytes, &ours[end..]].concat()) {
            assert_eq!(stream_id(event.cursor), "1-1");
            assert!(text.split(' ').nth(1) == Some("1-1"), "{text:?}");
        }
    });
}

/// A row that opens and does not parse was written by another version. Reported as a wrong key, it would mislead the operator.
#[test]
fn row_of_another_version_is_damaged_and_not_of_another_key() {
    const PIECES: &[&str] =
        &["{", "}", "\"Run\"", ":", "{\"phone\":null}", "null", "[", "]", "1e999", "\"Unlink\"", "\u{0}"];
    let seals = seals(1);
    check("plain-rows", COSTLY / 4, text(PIECES), |plain| {
        let opened = seals.open_event("1-1", &sealed(event_place("1-1"), plain.as_bytes()));
        opened.err().iter().for_each(is_no_key);
        let place = RowLocation { table: "desired", row: &7_u64.to_be_bytes() };
        let opened = seals.open_desired(7, &sealed(place, plain.as_bytes()));
        opened.err().iter().for_each(is_no_key);
        for table in ["device", "session"] {
            let (name, row) = seals.row(table, plain.as_bytes(), b"value");
            let opened = seals.open_row(table, &name, &row).unwrap();
            assert_eq!(opened, (plain.as_bytes().to_vec(), b"value".to_vec()));
            // Opens, and is no key and value.
            _ = seals.open_row(table, &name, &sealed(RowLocation { table, row: &name }, plain.as_bytes()));
        }
    });
}

#[test]
fn sealed_row_opens_with_no_bit_changed() {
    let (seals, others) = (seals(1), seals(3));
    let qr = QrCode::new("2@a".into(), Timestamp::UNIX_EPOCH, 1, 6, PairingId::new(1)).unwrap();
    let code = Event { status: Status::QrPending { qr, pair: None }, ..event(1) };
    let desired = DesiredState::run(None);
    let (name, row) = seals.row("device", b"key", b"value");
    let rows: [(&str, Vec<u8>); 5] = [
        ("event", sealed(event_place("1-1"), &serde_json::to_vec(&event(1)).unwrap())),
        ("event", sealed(event_place("1-1"), &serde_json::to_vec(&code).unwrap())),
        ("desired", seals.desired(7, &desired)),
        ("message", seals.owner_message(b"words")),
        ("row", row),
    ];
    let opens = |seals: &Seals, kind: &str, sealed: &[u8]| match kind {
        "event" => seals.open_event("1-1", sealed).is_ok(),
        "desired" => seals.open_desired(7, sealed).is_ok(),
        "message" => seals.open_owner_message(sealed).is_some(),
        _ => seals.open_row("device", &name, sealed).is_some(),
    };
    for (kind, sealed) in &rows {
        assert!(opens(&seals, kind, sealed) && !opens(&others, kind, sealed), "{kind}");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&seals, kind, &changed), "{kind} with bit {bit} changed");
        }
        for length in 0..sealed.len() {
            assert!(!opens(&seals, kind, &sealed[..length]), "{kind} cut at {length}");
        }
        assert!(!opens(&seals, kind, &[sealed, &b"x"[..]].concat()), "{kind} with a byte behind it");
    }
    check("sealed", COSTLY, prop::collection::vec(any::<u8>(), 0..200), |mut bytes| {
        for version in [None, Some(1)] {
            if let (Some(version), Some(first)) = (version, bytes.first_mut()) {
                *first = version;
            }
            for kind in ["event", "desired", "message", "row"] {
                assert!(!opens(&seals, kind, &bytes), "{kind}");
            }
        }
    });
}
