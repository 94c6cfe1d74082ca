use std::sync::{Arc, Mutex, PoisonError};

use super::{
    chunk::Chunk,
    frame::{Frame, Name},
};
use crate::{
    clock::Timestamp,
    events::{EventId, JournalId, News, PairCode, PairResult, PairingId, Shown, Status},
    http::payload::{PairBody, PairRefusedBody, PasskeyBody, QrBody, StatusBody, seconds_left},
    store::{Memo, Update},
    tenant::{TenantId, TenantRef},
};

/// Decides which events of an update are written to one stream. Pure: the time is a parameter.
pub struct SseEncoder {
    tenant: TenantId,
    tenant_ref: TenantRef,
    /// The last status written was marked stale: the next one is written whole, even if it changed nothing.
    stale: bool,
}

/// One update as it is written, shared by the streams of its tenant.
struct Encoded {
    key: Key,
    /// The state of the stream after it.
    is_stale: bool,
    chunk: Chunk,
}

/// The state of a stream that the bytes of an update depend on.
#[derive(PartialEq, Eq)]
struct Key {
    was_stale: bool,
    codes: [Option<(Timestamp, Option<i64>)>; 2],
}

/// When the codes of an update end, and the whole seconds until then.
fn codes_left(update: &Update, now: Timestamp) -> [Option<(Timestamp, Option<i64>)>; 2] {
    let status = match update {
        Update::Event(event) => &event.status,
        Update::Refresh(shown) => &shown.event.status,
    };
    let ends = match status {
        Status::QrPending { qr, pair } => [Some(qr.ends(now)), pair.as_ref().map(|pair| pair.ends(now))],
        Status::Connecting { passkey: Some(passkey), .. } => [Some(passkey.ends(now)), None],
        Status::Connecting { passkey: None, .. } | Status::Connected { .. } | Status::Disconnected { .. } => {
            [None, None]
        }
    };
    ends.map(|ends| ends.map(|ends| (ends, seconds_left(ends, now))))
}

const NOTHING: News = News { status: false, qr: false, pair: false };
const EVERYTHING: News = News { status: true, qr: true, pair: true };

impl SseEncoder {
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant_ref: tenant.reference(), tenant, stale: false }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What a new reader receives: the events missed since `after`, or else the whole current status. Also which kinds
    /// of news are in it.
    pub fn opening(&mut self, mut backlog: Vec<Update>, after: Option<EventId>, now: Timestamp) -> (String, News) {
        let mut out = String::new();
        // If a refresh marks the newest event as stale, the event must not be written as true first.
        let refresh = match backlog.last() {
            Some(Update::Refresh(shown)) => Some(shown.clone()),
            _ => None,
        };
        backlog.retain(|update| matches!(update, Update::Event(_)));
        let mut refresh_written = false;
        let (mut owed, mut written) = (NOTHING, NOTHING);
        let mut updates = backlog.into_iter().enumerate().peekable();
        while let Some((at, Update::Event(event))) = updates.next() {
            // If the first event does not directly follow the reader's last one, what changed between is unknown: it is written
            // whole.
            let joins = at == 0 && !after.is_some_and(|after| event.id().follows(&after));
            let mut news = if joins { EVERYTHING } else { with(event.news, owed) };
            owed = NOTHING;
            if updates.peek().is_some() {
                // Superseded: scanning an old code fails. A later event that still has the code must write it instead.
                owed = News { status: false, ..news };
                news = News { qr: false, pair: false, ..news };
            }
            if updates.peek().is_none() {
                // This reader may have received a stale status before it reconnected, and dropped its codes with it.
                news = News { status: news.status || !written.status, qr: true, pair: true };
            }
            let stale = updates.peek().is_none()
                && refresh.as_ref().is_some_and(|shown| shown.stale && shown.event.cursor == event.cursor);
            refresh_written |= stale;
            let id = Some(event.id());
            written = with(written, self.encode(&Shown { event, stale }, news, id, now, &mut out));
        }
        if let Some(shown) = refresh.filter(|_| !refresh_written) {
            written = with(written, self.encode(&shown, EVERYTHING, None, now, &mut out));
        }
        (out, written)
    }

    /// [`Self::live`], shared by the streams of a tenant that write the same bytes.
    pub fn live_shared(&mut self, update: &Update, memo: Option<&Memo>, now: Timestamp) -> Chunk {
        let Some(shared) = memo.and_then(|memo| memo.get_or_init(|| Mutex::new(None::<Encoded>))) else {
            return Chunk::new(&self.live(update, now));
        };
        let key = Key { was_stale: self.stale, codes: codes_left(update, now) };
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoded) = shared.as_ref().filter(|encoded| encoded.key == key) {
            self.stale = encoded.is_stale;
            return encoded.chunk.clone();
        }
        let chunk = Chunk::new(&self.live(update, now));
        *shared = Some(Encoded { key, is_stale: self.stale, chunk: chunk.clone() });
        chunk
    }

    /// Encodes an update for a reader of a live stream. Empty: nothing to write.
    pub fn live(&mut self, update: &Update, now: Timestamp) -> String {
        let mut out = String::new();
        match update {
            Update::Event(event) => {
                let shown = Shown { event: Arc::clone(event), stale: false };
                self.encode(&shown, event.news, Some(event.id()), now, &mut out);
            }
            // This reader never saw the status as stale. An event without a journal is new: the tenant was forgotten.
            Update::Refresh(shown) if !shown.stale && !self.stale && shown.event.journal != JournalId::NONE => {}
            Update::Refresh(shown) => {
                self.encode(shown, EVERYTHING, None, now, &mut out);
            }
        }
        out
    }

    /// There is no record of this tenant, so there is no cursor to come back with.
    pub fn never_linked(&mut self) -> String {
        let mut out = String::new();
        Frame::new(Name::ConnectionStatus, &StatusBody::never_linked(self.tenant_ref)).write(None, &mut out);
        out
    }

    /// Returns which parts were written.
    fn encode(&mut self, shown: &Shown, news: News, id: Option<EventId>, now: Timestamp, out: &mut String) -> News {
        let news = if self.stale { EVERYTHING } else { news };
        let mut written = NOTHING;
        let mut frames = Vec::with_capacity(3);
        if news.status || shown.stale {
            frames.push(Frame::new(Name::ConnectionStatus, &StatusBody::of(shown, self.tenant_ref)));
            written.status = true;
            self.stale = shown.stale;
        }
        // Without a live owner, scanning the code would link nothing.
        if let Status::QrPending { qr, pair } = &shown.event.status
            && !shown.stale
        {
            if let Some(body) = news.qr.then(|| QrBody::of(qr, now)).flatten() {
                frames.push(Frame::new(Name::QrCode, &body));
                written.qr = true;
            }
            if let Some(frame) = pair.as_ref().filter(|_| news.pair).and_then(|pair| pairing(pair, qr.pairing, now)) {
                frames.push(frame);
                written.pair = true;
            }
        }
        if let Status::Connecting { passkey: Some(passkey), .. } = &shown.event.status
            && news.qr
            && !shown.stale
            && let Some(body) = PasskeyBody::of(passkey, now)
        {
            frames.push(Frame::new(Name::PasskeyRequired, &body));
            written.qr = true;
        }
        // Only the last frame has the id: a stream that is cut between the frames repeats the first and loses nothing.
        if let Some((last, others)) = frames.split_last() {
            others.iter().for_each(|frame| frame.write(None, out));
            last.write(id, out);
        }
        written
    }
}

fn pairing(pair: &PairCode, pairing: PairingId, now: Timestamp) -> Option<Frame> {
    match &pair.code {
        PairResult::Code(code) => PairBody::of(code, pair, pairing, now).map(|body| Frame::new(Name::PairCode, &body)),
        PairResult::Refused { refused } => {
            Some(Frame::new(Name::PairCodeRefused, &PairRefusedBody::of(*refused, &pair.phone)))
        }
    }
}

fn with(news: News, owed: News) -> News {
    News { status: news.status || owed.status, qr: news.qr || owed.qr, pair: news.pair || owed.pair }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Account, ConnectingReason, Cursor, EndReason, Event, PhoneNumber, QrCode};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn qr(text: &str, expires: i64, pair: Option<&str>) -> Status {
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        let pair = pair.map(|code| PairCode { code: code.into(), phone, expires_at: at(400), lifetime: None });
        Status::QrPending { qr: QrCode::new(text.into(), at(expires), 1, 6, PairingId::new(1)).unwrap(), pair }
    }

    fn connected() -> Status {
        let phone = PhoneNumber::parse("6281234567890").unwrap();
        Status::Connected { account: Account { phone, name: Some("Toko\r\nSari".into()), platform: None } }
    }

    fn id(sequence: u64) -> EventId {
        EventId { journal: JournalId::new(7), cursor: Cursor { epoch: 1, sequence } }
    }

    /// The journal of a tenant with these statuses, an event every second.
    fn journal(statuses: impl IntoIterator<Item = Status>) -> Vec<Arc<Event>> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        for (sequence, status) in (1..).zip(statuses) {
            let event = Event::after(events.last().map(|event| &**event), id(sequence), at(sequence as i64), status);
            events.push(Arc::new(event));
        }
        events
    }

    fn updates(events: &[Arc<Event>]) -> Vec<Update> {
        events.iter().cloned().map(Update::Event).collect()
    }

    /// `name`, or `name#sequence` where it carries an id.
    fn names(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        for frame in text.split_terminator("\n\n") {
            let lines: Vec<_> = frame.split('\n').collect();
            let name = lines[0].strip_prefix("event: ").unwrap();
            let id = lines.iter().find_map(|line| line.strip_prefix("id: 0000000000000007-1-"));
            assert!(lines.last().unwrap().starts_with("data: {"));
            assert_eq!(lines.len(), if id.is_some() { 3 } else { 2 });
            out.push(id.map_or(name.to_owned(), |id| format!("{name}#{id}")));
        }
        out
    }

    fn encoder() -> SseEncoder {
        SseEncoder::new(TenantId::parse("toko").unwrap())
    }

    fn after(sequence: u64) -> Option<EventId> {
        Some(id(sequence))
    }

    #[test]
    fn current_status_is_sent_whole_with_its_id_on_the_last_frame() {
        let events = journal([qr("a", 70, None), qr("b", 90, Some("ABCD-1234"))]);
        let (text, _) = encoder().opening(updates(&events[1..]), None, at(75));
        assert_eq!(names(&text), ["connection-status", "qr-code", "pair-code#2"]);
        assert!(text.contains(r#""expiresIn":15,"#) && text.contains(r#""qrText":"b""#));
    }

    #[test]
    fn only_the_last_missed_code_is_sent() {
        let events = journal([
            Status::connecting(ConnectingReason::Starting, None),
            qr("a", 70, None),
            qr("b", 90, None),
            qr("c", 110, None),
        ]);
        let (text, _) = encoder().opening(updates(&events[1..]), after(1), at(95));
        assert_eq!(names(&text), ["connection-status#2", "qr-code#4"]);
        assert!(text.contains(r#""qrText":"c""#));
    }

    #[test]
    fn pair_code_that_outlives_its_qr_code_is_replayed() {
        let events = journal([qr("a", 70, None), qr("a", 70, Some("ABCD-1234")), qr("b", 90, Some("ABCD-1234"))]);
        let (text, _) = encoder().opening(updates(&events[1..]), after(1), at(75));
        assert_eq!(names(&text), ["connection-status", "qr-code", "pair-code#3"]);
    }

    #[test]
    fn expired_code_is_not_replayed() {
        let events = journal([qr("a", 70, None), qr("b", 90, None)]);
        assert_eq!(names(&encoder().opening(updates(&events[1..]), after(1), at(90)).0), ["connection-status#2"]);
        assert_eq!(names(&encoder().opening(updates(&events[1..]), None, at(90)).0), ["connection-status#2"]);
    }

    #[test]
    fn code_before_an_end_is_not_replayed() {
        let events = journal([qr("a", 70, None), Status::ended(EndReason::Cancelled)]);
        let (text, _) = encoder().opening(updates(&events), after(0), at(3));
        assert_eq!(names(&text), ["connection-status#1", "connection-status#2"]);
    }

    #[test]
    fn live_event_sends_only_changed_parts() {
        let events = journal([qr("a", 70, None), qr("b", 90, None), connected(), connected()]);
        let mut encoder = encoder();
        let mut live = |event: &Arc<Event>| names(&encoder.live(&Update::Event(event.clone()), at(5)));
        assert_eq!(live(&events[0]), ["connection-status", "qr-code#1"]);
        assert_eq!(live(&events[1]), ["qr-code#2"]);
        assert_eq!(live(&events[2]), ["connection-status#3"]);
        assert_eq!(live(&events[3]), [""; 0]);
    }

    #[test]
    fn stale_connected_is_never_sent_as_connected() {
        let events = journal([connected()]);
        let refresh = Update::Refresh(Shown { event: events[0].clone(), stale: true });
        let mut backlog = updates(&events);
        backlog.push(refresh);
        let (text, _) = encoder().opening(backlog, None, at(5));
        assert_eq!(names(&text), ["connection-status#1"]);
        assert!(text.contains(r#""status":"connecting""#) && text.contains(r#""reason":"moving""#));
        assert!(text.contains(r#""stale":true"#));
    }

    /// The reader received event 1 as stale elsewhere, and missed that it is not. The next event has only a new code.
    #[test]
    fn reconnecting_reader_receives_the_status_at_least_once() {
        let events = journal([qr("a", 70, None), qr("b", 90, None)]);
        let (text, _) = encoder().opening(updates(&events[1..]), after(1), at(75));
        assert_eq!(names(&text), ["connection-status", "qr-code#2"]);
        assert!(text.contains(r#""stale":false"#));
    }

    #[test]
    fn stale_code_is_hidden_and_sent_again_when_no_longer_stale() {
        let events = journal([qr("a", 70, None), qr("b", 90, None)]);
        let shown = |stale| Update::Refresh(Shown { event: events[0].clone(), stale });
        let mut encoder = encoder();
        assert_eq!(encoder.live(&shown(false), at(4)), "", "it was not stale");
        assert_eq!(names(&encoder.live(&shown(true), at(5))), ["connection-status"]);
        assert_eq!(names(&encoder.live(&shown(false), at(6))), ["connection-status", "qr-code"]);
        assert_eq!(names(&encoder.live(&shown(true), at(7))), ["connection-status"]);
        // A new owner's next code is news of the code only, and must clear the mark all the same.
        let text = encoder.live(&Update::Event(events[1].clone()), at(8));
        assert_eq!(names(&text), ["connection-status", "qr-code#2"]);
        assert!(text.contains(r#""stale":false"#));
    }

    /// The memo is filled by the first, in the second in which it writes.
    #[test]
    fn shared_bytes_are_those_that_each_stream_would_write() {
        let events = journal([qr("a", 70, None), connected()]);
        let event = Update::Event(events[0].clone());
        let refresh = |stale| Update::Refresh(Shown { event: events[1].clone(), stale });
        for updates in
            [vec![event.clone()], vec![refresh(true), refresh(false)], vec![refresh(false)], vec![event, refresh(true)]]
        {
            let memos: Vec<Memo> = updates.iter().map(|_| Memo::default()).collect();
            for (second, begins_stale) in [(5, false), (5, false), (5, true), (6, false), (5, true), (75, false)] {
                let (mut own, mut shared) = (encoder(), encoder());
                (own.stale, shared.stale) = (begins_stale, begins_stale);
                for (update, memo) in updates.iter().zip(&memos) {
                    let expected = own.live(update, at(second));
                    let chunk = shared.live_shared(update, Some(memo), at(second));
                    assert_eq!(chunk.framed(false), expected, "{second} {begins_stale}");
                    assert_eq!(shared.stale, own.stale);
                }
            }
        }
    }

    #[test]
    fn bytes_are_encoded_once_for_streams_that_write_the_same() {
        let update = Update::Event(journal([qr("a", 70, None)])[0].clone());
        let memo = Memo::default();
        let first = encoder().live_shared(&update, Some(&memo), at(5)).framed(true);
        let second = encoder().live_shared(&update, Some(&memo), at(5)).framed(true);
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn forgetting_of_its_tenant_reaches_an_open_stream() {
        let events = journal([connected(), Status::ended(EndReason::UnlinkedByUser)]);
        let mut encoder = encoder();
        encoder.opening(updates(&events), None, at(5));
        let refresh = |event| Update::Refresh(Shown { event, stale: false });
        assert_eq!(encoder.live(&refresh(events[1].clone()), at(6)), "", "it was not stale");
        let text = encoder.live(&refresh(Arc::new(Event::never_linked(at(7)))), at(7));
        assert_eq!(names(&text), ["connection-status"]);
        assert!(text.contains(r#""reason":"never-linked""#));
    }

    #[test]
    fn name_with_line_ends_does_not_break_a_frame() {
        let (text, _) = encoder().opening(updates(&journal([connected()])), None, at(5));
        assert_eq!(names(&text), ["connection-status#1"]);
        assert!(!text.contains('\r') && text.contains(r"Toko\r\nSari"));
    }
}
