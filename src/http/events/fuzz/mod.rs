//! Reads the encoder's output by the rules of the standard, and follows it as a page does.

mod parser;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    frame::{self, Frame, Name},
    sse_encoder::SseEncoder,
};
use crate::{
    clock::Timestamp,
    events::{
        Account, ConnectingReason, Cursor, EndReason, Event, EventId, JournalId, PairCode, PairRefusal, PairResult,
        PairingId, Passkey, PasskeyStep, PhoneNumber, QrCode, Shown, Status,
    },
    fuzz::{CHEAP, COSTLY, check, text},
    http::payload::{StatusBody, seconds_left},
    store::Update,
    tenant::TenantId,
};
use parser::Parser;

/// Texts that would break a stream if they were not escaped.
const NAMES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\r\r",
    "data: ",
    "event: connection-status",
    "id: 1",
    ":",
    "\0",
    "\u{2028}",
    "\u{85}",
    "\u{feff}",
    "\"",
    "\\",
    "\\n",
    " ",
    "\u{202e}",
    "Toko",
    "😀",
    "</script>",
];
const NOW: i64 = 1_000;

/// Cuts the bytes at these positions, and passes the parts to a parser.
fn read(bytes: &[u8], cuts: &[prop::sample::Index]) -> Parser {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let mut parser = Parser::default();
    cuts.windows(2).for_each(|ends| parser.read(&bytes[ends[0]..ends[1]]));
    parser
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..6)
}

#[test]
fn frames_are_read_as_they_were_written() {
    const ALL: [Name; 7] = [
        Name::ConnectionStatus,
        Name::QrCode,
        Name::PairCode,
        Name::PairCodeRefused,
        Name::PasskeyRequired,
        Name::Heartbeat,
        Name::TokenExpired,
    ];
    let id = prop::option::of(any::<(u64, u64, u64)>());
    let frames = prop::collection::vec((0..ALL.len(), text(NAMES), id), 0..3);
    check("frames", CHEAP, (frames, cuts(), any::<u32>()), |(frames, cuts, retry)| {
        let mut out = frame::opening(retry, Duration::from_secs(15));
        let mut expected = vec![("heartbeat".to_owned(), json!({ "every": 15 }), String::new())];
        let mut last = String::new();
        for (name, text, id) in frames {
            let body = Value::String(text);
            let id = id.map(|(journal, epoch, sequence)| EventId {
                journal: JournalId::new(journal),
                cursor: Cursor { epoch, sequence },
            });
            Frame::new(ALL[name], &body).write(id, &mut out);
            last = id.map_or(last, |id| id.to_string());
            expected.push((ALL[name].as_str().to_owned(), body, last.clone()));
        }
        let parser = read(out.as_bytes(), &cuts);
        assert_eq!(parser.retry, Some(u64::from(retry)));
        let json = |data: &str| serde_json::from_str::<Value>(data).expect("data is JSON");
        let events = parser.events.into_iter().map(|event| (event.name, json(&event.data), event.last_event_id));
        assert_eq!(events.collect::<Vec<_>>(), expected);
    });
}

/// The changes of a tenant, in order.
#[derive(Clone, Debug)]
enum Step {
    Appended(Status),
    /// The owner of the newest event is gone, or is back.
    BecameStale(bool),
}

/// Whether a reader may have received the newest event as stale.
#[derive(Clone, Copy, Default)]
struct Staleness {
    now: bool,
    ever: bool,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

/// Drawn once: a picture costs more than all the rest.
fn codes() -> Vec<QrCode> {
    let code = |text: &str| QrCode::new(text.to_owned(), at(0), 1, 6, PairingId::new(0)).expect("it is short");
    let codes: Vec<QrCode> = ["2@a", "2@b", "2@c"].map(code).into();
    codes.iter().for_each(|code| _ = code.data_url());
    codes
}

fn statuses() -> impl Strategy<Value = Status> {
    let phone = || PhoneNumber::parse("6281234567890").expect("a number");
    let account = prop::option::of(text(NAMES)).prop_map(move |name| Account { phone: phone(), name, platform: None });
    let pair = (0..4_u8, text(NAMES), NOW - 5..NOW + 200).prop_map(move |(kind, code, ends)| {
        let (code, ends) = match kind {
            0 => (PairResult::Refused { refused: PairRefusal::RateLimited }, ends),
            // Often the same, as while the QR beside it changes.
            1 => (PairResult::from("ABCD-1234"), NOW + 100),
            _ => (PairResult::Code(code), ends),
        };
        PairCode { code, phone: phone(), expires_at: at(ends), lifetime: None }
    });
    let codes = codes();
    let qr = (0..codes.len(), 1..7_u32, 0..2_u64, NOW - 5..NOW + 60).prop_map(move |(code, attempt, pairing, ends)| {
        let mut qr = codes[code].clone();
        (qr.attempt, qr.expires_at, qr.pairing) = (attempt, at(ends), PairingId::new(pairing));
        qr
    });
    let step = (any::<bool>(), text(NAMES)).prop_map(|(asserts, text)| match asserts {
        true => PasskeyStep::Assert { options: format!("{{\n  \"challenge\": {}\r\n}}", json!(text)) },
        false => PasskeyStep::Compare { code: text },
    });
    let passkey = (step, NOW - 5..NOW + 60, 0..2_u64).prop_map(|(step, ends, pairing)| {
        let (expires_at, pairing) = (at(ends), PairingId::new(pairing));
        Status::passkey_required(Passkey { step, expires_at, lifetime: None, pairing })
    });
    prop_oneof![
        3 => (qr, prop::option::of(pair)).prop_map(|(qr, pair)| Status::QrPending { qr, pair }),
        1 => account.clone().prop_map(|account| Status::Connected { account }),
        1 => (prop::sample::select(ConnectingReason::ALL), prop::option::of(account))
            .prop_map(|(reason, account)| Status::connecting(reason, account)),
        1 => prop::sample::select(EndReason::ALL).prop_map(Status::ended),
        1 => passkey,
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => statuses().prop_map(Step::Appended), 1 => any::<bool>().prop_map(Step::BecameStale)];
    prop::collection::vec(step, 1..7)
}

/// The state of a page: a code counts for its own window of codes, until a status of another window.
#[derive(Default)]
struct Page {
    status: Value,
    code: Option<Value>,
    pair: Option<Value>,
    passkey: Option<Value>,
}

impl Page {
    fn receive(&mut self, name: &str, data: Value) {
        match name {
            "connection-status" => {
                if data["pairing"] != self.status["pairing"] || data["status"] != "qr_pending" || data["stale"] == true
                {
                    (self.code, self.pair) = (None, None);
                }
                if data["reason"] != "passkey-required" || data["stale"] == true {
                    self.passkey = None;
                }
                self.status = data;
            }
            "qr-code" => {
                assert!(data["expiresIn"].as_i64().is_some_and(|left| left > 0), "an expired code is never sent");
                self.code = Some(data["qrText"].clone());
            }
            "pair-code" => {
                assert!(data["expiresIn"].as_i64().is_some_and(|left| left > 0));
                self.pair = Some(data["code"].clone());
            }
            "pair-code-refused" => self.pair = Some(data["reason"].clone()),
            "passkey-required" => self.passkey = Some(data),
            other => assert_eq!(other, "heartbeat"),
        }
    }
}

/// The page receives some updates live, then the stream breaks; it misses some, and receives the rest live again.
#[test]
fn page_knows_the_present_whatever_it_missed() {
    let breaks = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>());
    check("streams", COSTLY, (steps(), breaks, cuts()), |(steps, (left, came, knows), cuts)| {
        let (tenant, now) = (TenantId::parse("toko").expect("a tenant"), at(NOW));
        let (left, came) = (left.index(steps.len() + 1), came.index(steps.len() + 1));
        let (left, came) = (left.min(came), left.max(came));
        let (mut page, mut parser_id) = (Page::default(), String::new());
        let mut receive = |text: &str| {
            let parser = read(text.as_bytes(), &cuts);
            for event in &parser.events {
                page.receive(&event.name, serde_json::from_str(&event.data).expect("data is JSON"));
            }
            if !parser.last_event_id.is_empty() {
                let (before, id) = (EventId::parse(&parser_id), EventId::parse(&parser.last_event_id));
                assert!(before.is_none_or(|before| before.cursor <= id.expect("an id").cursor), "ids rise");
                parser_id.clone_from(&parser.last_event_id);
            }
        };
        let (mut events, mut staleness): (Vec<Arc<Event>>, Staleness) = (Vec::new(), Staleness::default());
        let mut encoder = SseEncoder::new(tenant.clone());
        let mut missed = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            if number == came {
                encoder = SseEncoder::new(tenant.clone());
                receive(&joined(&mut encoder, &events, &missed, staleness, knows, now));
            }
            let update = match step {
                Step::Appended(status) => {
                    let sequence = events.len() as u64 + 1;
                    let id = EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence } };
                    let previous = events.last().map(|event| &**event);
                    // A store does not append a status that did not change.
                    if previous.is_some_and(|previous| previous.status == *status) {
                        continue;
                    }
                    events.push(Arc::new(Event::after(previous, id, now, status.clone())));
                    staleness = Staleness::default();
                    Update::Event(events[events.len() - 1].clone())
                }
                Step::BecameStale(is_stale) => {
                    let Some(event) = events.last().cloned() else { continue };
                    let stale = *is_stale && !matches!(event.status, Status::Disconnected { .. });
                    staleness = Staleness { now: stale, ever: staleness.ever || stale };
                    Update::Refresh(Shown { event, stale })
                }
            };
            if (left..came).contains(&number) {
                missed.extend(matches!(update, Update::Event(_)).then_some(events.len() - 1));
            } else {
                receive(&encoder.live(&update, now));
            }
        }
        if came == steps.len() {
            receive(&joined(&mut SseEncoder::new(tenant.clone()), &events, &missed, staleness, knows, now));
        }
        let Some(event) = events.last().cloned() else { return };
        let stale = staleness.now;
        let shown = Shown { event, stale };
        let expected = serde_json::to_value(StatusBody::of(&shown, tenant.reference())).expect("JSON");
        assert_eq!(page.status, expected);
        if let (Status::QrPending { qr, pair }, false) = (&shown.event.status, stale) {
            if seconds_left(qr.expires_at, now).is_some() {
                assert_eq!(page.code, Some(json!(qr.text())));
            }
            match pair.as_ref().map(|pair| (&pair.code, seconds_left(pair.expires_at, now))) {
                Some((PairResult::Code(code), Some(_))) => assert_eq!(page.pair, Some(json!(code))),
                Some((PairResult::Refused { refused }, _)) => assert_eq!(page.pair, Some(json!(refused.as_str()))),
                Some((PairResult::Code(_), None)) | None => {}
            }
        }
        if let (Status::Connecting { passkey: Some(passkey), .. }, false) = (&shown.event.status, stale)
            && seconds_left(passkey.expires_at, now).is_some()
        {
            let updates = page.passkey.expect("it is asked for");
            match &passkey.step {
                PasskeyStep::Compare { code } => assert_eq!(updates["code"], json!(code)),
                PasskeyStep::Assert { options } => {
                    assert_eq!(updates["options"], serde_json::from_str::<Value>(options).expect("JSON"));
                }
            }
        }
    });
}

/// The stream of a reader that comes back, with the id of the last event before the first that it missed, or without.
fn joined(
    encoder: &mut SseEncoder,
    events: &[Arc<Event>],
    missed: &[usize],
    staleness: Staleness,
    knows: bool,
    now: Timestamp,
) -> String {
    let first = missed.first().copied().unwrap_or(events.len());
    let after = first.checked_sub(1).filter(|_| knows).map(|last| events[last].id());
    let begin = if after.is_some() { first } else { events.len().saturating_sub(1) };
    let mut backlog: Vec<Update> = events[begin..].iter().cloned().map(Update::Event).collect();
    // The same as `Memory::backlog`.
    if staleness.now {
        backlog.pop();
    }
    if let Some(event) = events.last().cloned().filter(|_| staleness.now || (backlog.is_empty() && staleness.ever)) {
        backlog.push(Update::Refresh(Shown { event, stale: staleness.now }));
    }
    encoder.opening(backlog, after, now).0
}
