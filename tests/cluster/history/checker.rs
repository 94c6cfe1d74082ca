//! Checks a history: a pure function over the events that clients received. It knows the omissions that the contract
//! permits and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    time::Duration,
};

/// Where an event stands: epoch and sequence.
pub type Position = (u64, u64);

/// The journal keeps so many events. A reader with an older id starts with the current status.
const KEPT: u64 = 32;
/// A replay is written at once when a stream opens, and leaves out codes that were superseded. Time in which an instance was
/// suspended does not count: it may have been suspended between the head of the answer and the replay.
const OPENING: Duration = Duration::from_millis(500);
/// Events that an instance publishes together come within this time.
const TOGETHER: Duration = Duration::from_millis(100);

/// `TENANT/LINK/NUMBER`, which chatty links put into account names and codes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub tenant: String,
    pub link: String,
    pub number: u64,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.link, self.number)
    }
}

impl Mark {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (tenant, link, number) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then(|| Self { tenant: tenant.to_owned(), link: link.to_owned(), number })
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    Status { word: String, reason: Option<String>, mark: Option<Mark>, stale: bool },
    Code { mark: Option<Mark> },
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { word, reason, mark, stale } => {
                write!(f, "{word}/{}", reason.as_deref().unwrap_or("-"))?;
                mark.iter().try_for_each(|mark| write!(f, " {mark:?}"))?;
                f.write_str(if *stale { " (stale)" } else { "" })
            }
            Self::Code { mark } => write!(f, "code {mark:?}"),
        }
    }
}

impl Content {
    pub fn is_settled(&self) -> bool {
        let words = ["connected", "disconnected"];
        matches!(self, Self::Status { word, stale: false, .. } if words.contains(&word.as_str()))
    }
}

#[derive(Clone, Debug)]
pub struct Trouble {
    pub when: Range<Duration>,
    /// `None`: of all.
    pub instance: Option<usize>,
}

impl Trouble {
    fn is_of(&self, instance: Option<usize>) -> bool {
        self.instance.is_none_or(|of| Some(of) == instance)
    }
}

#[derive(Clone, Debug)]
pub enum Note {
    /// At this instance.
    Opened(usize),
    Received {
        position: Option<Position>,
        content: Content,
    },
    /// An answer that ends an EventSource for good.
    Refused(u16),
}

impl Note {
    fn position(&self) -> Option<Position> {
        match self {
            Self::Received { position, .. } => *position,
            Self::Opened(_) | Self::Refused(_) => None,
        }
    }
}

/// The notes of one client, each with the time since the history began.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub tenant: String,
    pub notes: Vec<(Duration, Note)>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub clients: Vec<Client>,
    /// What every instance answers at the end, when everything is quiet.
    pub answers: Vec<(String, Content)>,
    /// Tenants whose user pressed "connect" last, after "disconnect" was answered.
    pub wanted: BTreeSet<String>,
    /// Only then may sequences begin a new epoch.
    pub redis_restarts: usize,
    /// How often it came back without its last writes: a reader with a newer id then starts with an older status.
    pub redis_losses: usize,
    /// When an instance was suspended.
    pub suspensions: Vec<Trouble>,
    /// When messages may have been lost on their way, so that an instance reads what it has missed.
    pub losses_of_messages: Vec<Trouble>,
    /// Logins that ended a living link of the same device, by tenant.
    pub replaced_links: Vec<(String, Duration)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Events between two that a client saw.
    Lost,
    /// An id that is not above the one before.
    Disorder,
    /// One id that was sent with two contents.
    TwoEventsOfOneId,
    Foreign,
    /// An owner published after its successor had.
    TwoOwners,
    /// Sequences began anew without a reason.
    Epoch,
    /// The last status of a client is not true.
    FinalState,
    /// The user's last request was not fulfilled.
    LostRequest,
    /// When everything is quiet, a tenant is neither connected nor disconnected.
    Stuck,
    Refused,
    ReplacedLink,
}

/// All violations, as text.
pub fn check(history: &History) -> Vec<(Wrong, String)> {
    let mut wrong = Vec::new();
    let known = knowledge(history, &mut wrong);
    for (tenant, events) in &known {
        check_one_owner_at_a_time(tenant, events, &mut wrong);
        let epochs: BTreeSet<u64> = events.keys().map(|position| position.0).collect();
        if epochs.len() > history.redis_restarts + 1 {
            wrong.push((Wrong::Epoch, format!("{tenant}: epochs {epochs:x?}, {} restarts", history.redis_restarts)));
        }
    }
    let nothing = Events::new();
    for client in &history.clients {
        let events = known.get(client.tenant.as_str()).unwrap_or(&nothing);
        story(client, events, history, &mut wrong);
        ends_with_the_truth(client, history, &mut wrong);
    }
    for (tenant, content) in &history.answers {
        if let Content::Status { reason: Some(reason), .. } = content
            && ["unlinked-by-user", "cancelled"].contains(&reason.as_str())
            && history.wanted.contains(tenant)
        {
            wrong.push((Wrong::LostRequest, format!("{tenant}: {reason} although it is to be connected")));
        }
        if !content.is_settled() {
            wrong.push((Wrong::Stuck, format!("{tenant}: {content:?} in the end")));
        }
    }
    for (tenant, at) in &history.replaced_links {
        let detail = format!("{tenant}: a living link was ended by a second login at {at:?}");
        wrong.push((Wrong::ReplacedLink, detail));
    }
    wrong
}

/// The events of one tenant, collected from all readers.
type Events = BTreeMap<Position, Known>;

#[derive(Clone, Debug, Default)]
struct Known {
    word: Option<(String, Option<String>)>,
    mark: Option<Mark>,
}

impl Known {
    fn is(&self, status: &str) -> bool {
        self.word.as_ref().is_some_and(|(word, _)| word == status)
    }

    fn is_code(&self) -> bool {
        self.word.as_ref().is_none_or(|(word, _)| word == "qr_pending")
    }

    fn matches(&self, word: &str, reasons: &[&str]) -> bool {
        let content = |(content, reason): &(String, Option<String>)| {
            content == word && reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
        };
        self.word.as_ref().is_some_and(content)
    }

    fn gives_up_link(&self) -> bool {
        self.matches("disconnected", &["unlinked-by-user", "unlinked-by-phone", "cancelled"])
    }

    fn is_start(&self) -> bool {
        self.matches("connecting", &["starting"])
    }

    fn is_doubted_in(&self, content: &Content) -> bool {
        let (Some((word, reason)), Content::Status { word: sent, reason: why, mark, stale: true }) =
            (&self.word, content)
        else {
            return false;
        };
        match word.as_str() {
            "qr_pending" => sent == word,
            "connected" => (sent.as_str(), why.as_deref(), mark) == ("connecting", Some("moving"), &self.mark),
            _ => (sent, why, mark) == (word, reason, &self.mark),
        }
    }
}

fn knowledge<'a>(history: &'a History, wrong: &mut Vec<(Wrong, String)>) -> BTreeMap<&'a str, Events> {
    let mut known: BTreeMap<&str, Events> = BTreeMap::new();
    for client in &history.clients {
        for (_, note) in &client.notes {
            let Note::Received { position, content } = note else { continue };
            let mark = match content {
                Content::Status { mark, .. } | Content::Code { mark } => mark,
            };
            if let Some(mark) = mark.as_ref().filter(|mark| mark.tenant != client.tenant) {
                wrong.push((Wrong::Foreign, format!("{} received an event of {}", client.tenant, mark.tenant)));
            }
            let Some(position) = position else { continue };
            let event = known.entry(&client.tenant).or_default().entry(*position).or_default();
            let (word, mark) = match content {
                // A stale status has other fields.
                Content::Status { stale: true, .. } => continue,
                Content::Status { word, reason, mark, .. } => ((word.clone(), reason.clone()), mark.clone()),
                Content::Code { mark } => (("qr_pending".to_owned(), None), mark.clone()),
            };
            let same_word = event.word.get_or_insert_with(|| word.clone()) == &word;
            // The status of a code does not contain the code.
            let same_mark = mark.is_none_or(|mark| *event.mark.get_or_insert_with(|| mark.clone()) == mark);
            if !same_word || !same_mark {
                wrong.push((
                    Wrong::TwoEventsOfOneId,
                    format!("{} {position:x?}: {event:?} and {content:?}", client.tenant),
                ));
            }
        }
    }
    known
}

/// After an event of another link, no event of the link before may come; and a link's events come in order.
fn check_one_owner_at_a_time(tenant: &str, events: &Events, wrong: &mut Vec<(Wrong, String)>) {
    let (mut over, mut last): (BTreeSet<&str>, Option<&Mark>) = (BTreeSet::new(), None);
    let mut epoch = 0;
    for (position, event) in events {
        if position.0 != epoch {
            // Redis may have forgotten that one took over from the other.
            (over, last, epoch) = (BTreeSet::new(), None, position.0);
        }
        let Some(mark) = &event.mark else { continue };
        if let Some(last) = last
            && last.link != mark.link
        {
            over.insert(&last.link);
        }
        let back = last.is_some_and(|last| last.link == mark.link && last.number > mark.number);
        if over.contains(mark.link.as_str()) || back {
            let around: Vec<_> = events.range((position.0, position.1.saturating_sub(4))..=*position).collect();
            wrong.push((Wrong::TwoOwners, format!("{tenant} {position:x?}: {mark:?} after {last:?} in {around:x?}")));
        }
        last = Some(mark);
    }
}

impl History {
    /// From `opened` to `at`, without the time in which the instance was suspended.
    fn since(&self, opened: Duration, at: Duration, instance: Option<usize>) -> Duration {
        let suspended = self.suspensions.iter().filter(|trouble| trouble.is_of(instance)).map(|trouble| &trouble.when);
        let suspended = suspended.map(|range| range.end.min(at).saturating_sub(range.start.max(opened)));
        at.saturating_sub(opened).saturating_sub(suspended.sum())
    }

    fn may_have_lost_messages(&self, from: Duration, to: Duration, instance: Option<usize>) -> bool {
        let mut losses = self.losses_of_messages.iter().filter(|trouble| trouble.is_of(instance));
        losses.any(|Trouble { when, .. }| when.start < to && from < when.end)
    }
}

fn story(client: &Client, events: &Events, history: &History, wrong: &mut Vec<(Wrong, String)>) {
    let mut losses = history.redis_losses;
    let (mut last, mut opened, mut doubts) = (None::<Position>, Duration::ZERO, Vec::new());
    let (mut received, mut instance) = (Duration::ZERO, None);
    for (index, (at, note)) in client.notes.iter().enumerate() {
        match note {
            Note::Opened(at_instance) => (opened, instance) = (*at, Some(*at_instance)),
            Note::Refused(code) => wrong.push((Wrong::Refused, format!("{}: {code}", client.tenant))),
            Note::Received { position: None, content } => doubts.push(content),
            Note::Received { position: Some(position), .. } => {
                let opening = history.since(opened, *at, instance) < OPENING;
                if opening && losses > 0 && last.is_some_and(|last| *position <= last) {
                    losses -= 1;
                    last = None;
                }
                // An end of the link that came together with this event was read with it.
                let together = client.notes[index..]
                    .iter()
                    .take_while(|(other, note)| *other <= *at + TOGETHER && !matches!(note, Note::Opened(_)));
                let until = together.filter_map(|(_, note)| note.position()).max().unwrap_or(*position);
                let between = Between {
                    opening,
                    doubts: &doubts,
                    may_be_read: opening
                        || !doubts.is_empty()
                        || history.may_have_lost_messages(received, *at, instance),
                    until,
                };
                received = *at;
                if let Some(wrongness) = last.and_then(|last| step(last, *position, &between, events)) {
                    let before = &client.notes[index.saturating_sub(6)..client.notes.len().min(index + 4)];
                    let until = (position.0, position.1 + 3);
                    let between =
                        last.map(|last| events.range(last.min(*position)..=last.max(until)).collect::<Vec<_>>());
                    let detail = format!("{} at {at:?}: {before:x?}\nknown: {between:x?}", client.tenant);
                    wrong.push((wrongness, detail));
                }
                last = Some(*position);
                doubts.clear();
            }
        }
    }
}

/// What is known of the time between two events of a client.
struct Between<'a> {
    opening: bool,
    /// The updates without an id.
    doubts: &'a [&'a Content],
    /// The second event may have been read, not received as a message.
    may_be_read: bool,
    /// The last event that came together with the second one.
    until: Position,
}

/// `None`: the second event may follow the first.
fn step(last: Position, next: Position, between: &Between<'_>, events: &Events) -> Option<Wrong> {
    let Between { opening, doubts, may_be_read, until } = *between;
    if next <= last {
        return Some(Wrong::Disorder);
    }
    // What was before a restart of Redis may be lost with it, and the present comes first.
    if next.0 != last.0 || (opening && next.1 - last.1 >= KEPT) {
        return None;
    }
    // With a link that is given up the events before its end are gone: for who comes back, and for a stream that missed
    // messages and catches up. Messages that arrived before the reading are published before the end.
    let given_up = |sequence| match events.get(&(last.0, sequence)) {
        Some(event) => event.gives_up_link(),
        // No client saw it. Only the event of a new request follows such an end.
        None => events.get(&(last.0, sequence + 1)).is_some_and(Known::is_start),
    };
    // A code is shown after "connected" only if the link was given up in between, whether or not a client saw the end.
    let mut is_linked = false;
    let unlinked = events.range(last..=next).any(|(_, event)| {
        is_linked |= event.is("connected");
        is_linked && event.is("qr_pending")
    });
    // Two in a row that no client saw may be such an end and the new request, if the first event of a link, or one more that
    // no client saw, follows them.
    let is_unseen = |sequence| !events.contains_key(&(last.0, sequence));
    let is_link_or_code = |sequence| match events.get(&(last.0, sequence)) {
        Some(event) => event.mark.as_ref().is_some_and(|mark| mark.number == 1),
        None => true,
    };
    let unseen =
        (last.1 + 1..next.1).any(|sequence| (sequence..sequence + 2).all(is_unseen) && is_link_or_code(sequence + 2));
    let end = if until.0 == next.0 { until.1 } else { next.1 };
    if may_be_read && (unlinked || unseen || (last.1 + 1..=end).any(given_up)) {
        return None;
    }
    let permitted = |sequence| match events.get(&(last.0, sequence)) {
        // A stale refresh replaces the newest event, which no owner confirms.
        Some(event) => opening && event.is_code() || doubts.iter().any(|content| event.is_doubted_in(content)),
        // No reader received it, so it may have been a code.
        None => opening || !doubts.is_empty(),
    };
    (last.1 + 1..next.1).any(|sequence| !permitted(sequence)).then_some(Wrong::Lost)
}

fn ends_with_the_truth(client: &Client, history: &History, wrong: &mut Vec<(Wrong, String)>) {
    let last = client.notes.iter().rev().find_map(|(_, note)| match note {
        Note::Received { content: content @ Content::Status { .. }, .. } => Some(content),
        Note::Received { .. } | Note::Opened(_) | Note::Refused(_) => None,
    });
    for (_, answer) in history.answers.iter().filter(|(tenant, _)| *tenant == client.tenant) {
        if last != Some(answer) {
            let end = &client.notes[client.notes.len().saturating_sub(8)..];
            let detail = format!("{}: an instance answers {answer:?}, a client ends with {end:x?}", client.tenant);
            wrong.push((Wrong::FinalState, detail));
            return;
        }
    }
}
