//! Reads a status that a later version of this program wrote. Instances of two versions share one store during an
//! upgrade, and an upgrade may be rolled back: an unknown word must not make a tenant unusable.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{ConnectingReason, EndReason, Status};

/// Rises with each word that is added to what a store keeps. It only says that there are words which this version does
/// not know; how they are kept is the store's layout, which has a number of its own.
pub const VOCABULARY: u64 = 2;

/// Reads an unknown reason as `internal` or `moving`, and any other unknown status as `connecting`/`moving`. Fields that are
/// known stay.
pub(super) fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    let written = Value::deserialize(deserializer)?;
    Ok(Status::deserialize(&written).unwrap_or_else(|_| general(written)))
}

fn general(mut written: Value) -> Status {
    let moving = ConnectingReason::Moving.as_str();
    let repairs: &[(&str, Value)] = match written["status"].as_str() {
        Some("disconnected") => &[("reason", EndReason::Internal.as_str().into()), ("until", Value::Null)],
        Some("connecting") => &[("reason", moving.into()), ("passkey", Value::Null), ("account", Value::Null)],
        Some("qr_pending") => &[("pair", Value::Null)],
        _ => &[],
    };
    for (field, value) in repairs {
        written[*field] = value.clone();
        if let Ok(status) = Status::deserialize(&written) {
            return status;
        }
    }
    Status::connecting(ConnectingReason::Moving, None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::PairRefusal;

    fn read(written: Value) -> Status {
        status(written).expect("any JSON is read")
    }

    #[test]
    fn unknown_reasons_are_read_as_internal_or_moving() {
        let ended = json!({"status": "disconnected", "reason": "eaten-by-a-whale", "until": null, "remote": false});
        assert_eq!(
            read(ended),
            Status::Disconnected { reason: EndReason::Internal, until: None, remote: false, expected: None },
            "what is known of it stays"
        );
        let account = json!({"phone": "6281234567890", "name": "Sari", "platform": "android"});
        let waiting = json!({"status": "connecting", "reason": "asleep", "account": account, "pillow": 2});
        let read_as = read(waiting);
        assert_eq!(read_as.account().map(|account| account.phone.as_str()), Some("6281234567890"));
        assert_eq!(read_as, Status::connecting(ConnectingReason::Moving, read_as.account().cloned()));
        let general = Status::connecting(ConnectingReason::Moving, None);
        for written in [json!({"status": "dreaming"}), json!({"status": "connected"}), json!([1]), json!(null)] {
            assert_eq!(read(written), general);
        }
    }

    /// If you add a word, raise `VOCABULARY` and the count here.
    #[test]
    fn vocabulary_number_rises_with_each_added_word() {
        let words = ConnectingReason::ALL.len() + EndReason::ALL.len() + PairRefusal::ALL.len();
        assert_eq!((VOCABULARY, words), (2, 28));
    }
}
