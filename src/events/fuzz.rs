use proptest::prelude::*;

use super::{Cursor, Event, EventId, JournalId, QrCode};
use crate::{
    fuzz::{CHEAP, check, text},
    tenant::TenantId,
};

#[test]
fn any_event_id_reads_back_as_it_was_written() {
    check("event-ids-written", CHEAP, any::<(u64, u64, u64)>(), |(journal, epoch, sequence)| {
        let id = EventId { journal: JournalId::new(journal), cursor: Cursor { epoch, sequence } };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        assert_eq!(Cursor::parse(&id.cursor.to_string()), Some(id.cursor));
    });
}

/// `Display` writes the form in Redis's keys: two forms of one name would be two keys.
#[test]
fn tenant_has_one_name_in_keys() {
    const PIECES: &[&str] = &["a", "auth0|", "%", "%2", "%7C", "%7c", "%61", "{", "}", "*", " ", ":", "/", "..", "~"];
    check("tenants", CHEAP, text(PIECES), |text| {
        if let Ok(tenant) = TenantId::parse(&text) {
            assert_eq!(TenantId::parse_encoded(&tenant.to_string()), Ok(tenant));
        }
        if let Ok(tenant) = TenantId::parse_encoded(&text) {
            assert_eq!(tenant.to_string(), text);
        }
    });
}

/// A later version may have written anything: no JSON panics, and what is read is written again and read as the same.
#[test]
fn event_of_any_version_is_read_or_refused() {
    const PIECES: &[&str] = &[
        r#"{"journal":7,"cursor":{"epoch":1,"sequence":2},"at":"2026-01-28T10:00:00Z","since":"2026-01-28T10:00:00Z","news":{"status":true,"qr":false,"pair":false},"status":"#,
        r#"{"status":"disconnected","reason":"banned","until":null,"remote":true}"#,
        r#"{"status":"connecting","reason":"moving","account":null}"#,
        r#"{"status":"connected","account":{"phone":"6281234567890","name":"x"}}"#,
        r#"{"status":"qr_pending","qr":{"text":"2@x","expires_at":"2026-01-28T10:00:00Z","attempt":1,"attempts_max":6},"pair":null}"#,
        r#"{"status":"dreaming"}"#,
        r#""reason":"asleep""#,
        "-262143-01-01T00:00:00Z",
        "{",
        "}",
        "[",
        "]",
        ",",
        "null",
        "1e400",
        "18446744073709551615",
    ];
    check("events", CHEAP, text(PIECES), |text| {
        if let Ok(event) = serde_json::from_str::<Event>(&text) {
            let again = serde_json::to_string(&event).expect("it has string keys");
            assert_eq!(serde_json::from_str::<Event>(&again).expect("it was written here"), event);
        }
    });
}

/// Drawing it would panic, in every stream of its tenant.
#[test]
fn kept_code_that_fits_no_picture_is_no_code() {
    let kept = |text: &str| {
        serde_json::json!({
            "text": text, "expires_at": "2026-01-28T10:00:00Z", "attempt": 1, "attempts_max": 6, "pairing": 1,
        })
    };
    assert!(serde_json::from_value::<QrCode>(kept("2@a")).is_ok());
    for text in [String::new(), "x".repeat(2_954)] {
        assert!(serde_json::from_value::<QrCode>(kept(&text)).is_err(), "{} bytes", text.len());
    }
}
