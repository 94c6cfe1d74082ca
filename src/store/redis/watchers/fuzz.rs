//! Streams of one tenant join, read and fall behind while its journal goes on, messages get lost, and Redis restarts, in
//! any order. The journal, the channel and the tasks are a model; the watchers, the hub and the subscriptions are ours.

use std::collections::VecDeque;

use futures::FutureExt as _;
use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    events::{ConnectingReason, JournalId},
    fuzz::{CHEAP, check},
    store::{
        Subscription,
        redis::journal::record::{Owner, Record},
    },
};

#[derive(Clone, Debug)]
enum Step {
    /// The owner appends an event; its message arrives later, or never.
    Append {
        arrives: bool,
    },
    /// The oldest message arrives.
    Receive,
    /// A task begins to read, or publishes what it has read.
    Read,
    /// Redis restarts without its last events. Owners append their status again: see `end`.
    Restart {
        lost: usize,
    },
    /// The subscription breaks and is made again.
    Reconnect,
    /// A stream comes, with the id of an event or without. It reads at once, and is based later.
    Join {
        after: Option<Index>,
    },
    Base,
    /// A stream comes while the store cannot be read.
    JoinStale {
        after: Option<Index>,
    },
    /// One of the streams takes its next update.
    Take {
        stream: Index,
    },
}

/// Whether the journal begins empty, and what happens.
fn schedules() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let after = || prop::option::of(any::<Index>());
    let step = prop_oneof![
        6 => prop::bool::weighted(0.85).prop_map(|arrives| Step::Append { arrives }),
        6 => Just(Step::Receive),
        4 => Just(Step::Read),
        1 => (0..3_usize).prop_map(|lost| Step::Restart { lost }),
        1 => Just(Step::Reconnect),
        3 => after().prop_map(|after| Step::Join { after }),
        3 => Just(Step::Base),
        1 => after().prop_map(|after| Step::JoinStale { after }),
        4 => any::<Index>().prop_map(|stream| Step::Take { stream }),
    ];
    (prop::bool::weighted(0.2), prop::collection::vec(step, 1..24))
}

/// A stream between its joining and its reading.
struct Joining {
    joined: Joined,
    after: Option<EventId>,
    reading: Reading,
    again: bool,
}

struct Stream {
    subscription: Subscription,
    /// The newest event that the stream has received, here or before it came.
    delivered: Option<EventId>,
    /// It has received an update that is not stale.
    begun: bool,
    /// The event of the last update that it has received.
    last: Option<EventId>,
    stale: bool,
    behind: bool,
}

type Message = (Option<Cursor>, Event);

struct World {
    tenant: TenantId,
    watchers: Watchers,
    server: watch::Sender<String>,
    runs: u64,
    journal: Vec<Arc<Event>>,
    /// Every event that was ever appended, with the lost ones.
    ever: Vec<EventId>,
    channel: VecDeque<Message>,
    /// A task is to read the tenant, and what it has read.
    task: bool,
    read: Option<(String, ReadFrom, Reading)>,
    joining: Option<Joining>,
    streams: Vec<Stream>,
}

const OWNER: &str = "owner";

impl World {
    fn new(empty: bool) -> Self {
        let server = watch::Sender::new("0".to_owned());
        let watchers = Watchers::new(Arc::default(), server.subscribe());
        let tenant = TenantId::parse("a").expect("a tenant");
        let mut world = Self {
            tenant,
            watchers,
            server,
            runs: 0,
            journal: Vec::new(),
            ever: Vec::new(),
            channel: VecDeque::new(),
            task: false,
            read: None,
            joining: None,
            streams: Vec::new(),
        };
        if !empty {
            world.append(false);
        }
        world
    }

    /// Each run of the server begins a journal, with an epoch above all earlier ones.
    fn append(&mut self, arrives: bool) {
        let previous = self.journal.last().cloned();
        let begins = previous.as_ref().is_none_or(|previous| previous.journal != JournalId::new(self.runs + 1));
        let cursor = match &previous {
            Some(previous) if !begins => Cursor { sequence: previous.cursor.sequence + 1, ..previous.cursor },
            _ => Cursor { epoch: 10 + self.runs, sequence: 1 },
        };
        let id = EventId { journal: JournalId::new(self.runs + 1), cursor };
        let reason =
            if self.ever.len().is_multiple_of(2) { ConnectingReason::Starting } else { ConnectingReason::Scanned };
        let event = Event::after(previous.as_deref(), id, Timestamp::UNIX_EPOCH, Status::connecting(reason, None));
        self.ever.push(id);
        if arrives {
            self.channel.push_back((previous.map(|previous| previous.cursor), event.clone()));
        }
        self.journal.push(Arc::new(event));
    }

    fn reading(&self, begin: usize, follows: Option<EventId>) -> Reading {
        let newest = self.journal.last().cloned();
        let owner = newest.is_some().then(|| Owner { incarnation: OWNER.to_owned(), nonce: 1 });
        let record = Record { newest, owner, version: "1".to_owned(), ..Record::default() };
        Reading { record, is_owned: true, events: self.journal[begin..].to_vec(), follows }
    }

    /// As a stream reads: what follows the id that is known, or the newest alone.
    fn read_after(&self, after: Option<EventId>) -> Reading {
        let place = after.and_then(|after| self.journal.iter().position(|event| event.id() == after));
        let begin = place.map_or(self.journal.len().saturating_sub(1), |place| place + 1);
        self.reading(begin, after.filter(|_| place.is_some()))
    }

    /// As a task reads: also what is behind a cursor that is not there any more.
    fn read_on(&self, from: Option<Cursor>) -> Reading {
        let Some(from) = from else { return self.read_after(None) };
        let known = self.journal.iter().position(|event| event.cursor == from);
        match (known, self.journal.iter().position(|event| event.cursor > from)) {
            (Some(place), _) => self.reading(place + 1, Some(self.journal[place].id())),
            (None, Some(next)) => self.reading(next, None),
            (None, None) => self.read_after(None),
        }
    }

    fn suspect(&mut self) {
        self.task |= self.watchers.suspect(&self.tenant);
    }

    fn id(&self, after: Option<Index>) -> Option<EventId> {
        let foreign = EventId { journal: JournalId::new(99), cursor: Cursor { epoch: 12, sequence: 3 } };
        let ids: Vec<EventId> = self.ever.iter().copied().chain([foreign]).collect();
        after.map(|index| *index.get(&ids))
    }

    fn receive(&mut self) {
        let Some((previous, event)) = self.channel.pop_front() else { return };
        let server = self.watchers.server();
        self.task |= self.watchers.receive(&server, &self.tenant, previous, event, Some(OWNER.to_owned()));
    }

    fn read(&mut self) {
        if !self.task {
            return;
        }
        let Some((server, from, reading)) = self.read.take() else {
            let from = self.watchers.read_from(&self.tenant);
            self.read = Some((self.watchers.server(), from, self.read_on(from.cursor)));
            return;
        };
        self.task = self.watchers.caught_up(&server, &self.tenant, from, reading, Timestamp::UNIX_EPOCH);
    }

    fn base(&mut self) {
        let Some(Joining { mut joined, after, reading, again }) = self.joining.take() else { return };
        let behind = match self.watchers.based(&self.tenant, &reading, &joined) {
            Based::Gone => {
                joined = self.watchers.join(&self.tenant);
                let reading = self.read_after(after);
                self.joining = Some(Joining { joined, after, reading, again });
                return;
            }
            Based::Overtaken if !again => {
                let reading = self.read_after(after);
                self.joining = Some(Joining { joined, after, reading, again: true });
                return;
            }
            Based::Overtaken => self.watchers.suspect(&self.tenant),
            Based::Behind => true,
            Based::Well => false,
        };
        self.task |= behind;
        let known = reading.follows;
        let (backlog, seen) = reading.backlog();
        self.comes(Subscription::new(backlog, joined.live, seen), known);
    }

    /// `known`: the event that it came with, if the journal has it.
    fn comes(&mut self, subscription: Subscription, known: Option<EventId>) {
        self.streams.push(Stream {
            subscription,
            delivered: known,
            begun: false,
            last: None,
            stale: false,
            behind: false,
        });
    }

    fn restart(&mut self, lost: usize) {
        self.runs += 1;
        self.journal.truncate(self.journal.len().saturating_sub(lost).max(1));
        for stream in &mut self.streams {
            while !stream.begun && stream.take() {}
        }
        for stream in self.streams.iter_mut().filter(|stream| !stream.begun) {
            // The event was lost before the stream read: the stream begins with the newest one.
            stream.delivered =
                stream.delivered.filter(|delivered| self.journal.iter().any(|event| event.id() == *delivered));
        }
        self.server.send_replace(self.runs.to_string());
        self.reconnect();
    }

    /// Messages under way are lost with the connection. After the reconnect all watched tenants are read.
    fn reconnect(&mut self) {
        self.channel.clear();
        self.watchers.not_delivering();
        self.watchers.connected();
        self.watchers.listening(std::slice::from_ref(&self.tenant));
        self.suspect();
    }

    fn take(&mut self, stream: Option<Index>) {
        match stream {
            Some(index) if !self.streams.is_empty() => {
                let at = index.index(self.streams.len());
                self.streams[at].take();
            }
            Some(_) => {}
            None => self.streams.iter_mut().for_each(|stream| while stream.take() {}),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append { arrives } => self.append(*arrives),
            Step::Receive => self.receive(),
            Step::Read => self.read(),
            Step::Restart { lost } => self.restart(*lost),
            Step::Reconnect => self.reconnect(),
            Step::Join { .. } if self.joining.is_some() => {}
            Step::Join { after } => {
                let after = self.id(*after);
                let joined = self.watchers.join(&self.tenant);
                self.watchers.is_listening(&self.tenant);
                let reading = self.read_after(after);
                self.joining = Some(Joining { joined, after, reading, again: false });
            }
            Step::Base => self.base(),
            Step::JoinStale { after } => {
                let after = self.id(*after);
                let (doubt, live, reads) = self.watchers.join_stale(&self.tenant, after, Timestamp::UNIX_EPOCH);
                self.task |= reads;
                let known = after.filter(|after| self.journal.iter().any(|event| event.id() == *after));
                self.comes(Subscription::stale(doubt, live, after), known);
            }
            Step::Take { stream } => self.take(Some(*stream)),
        }
    }

    /// Ends all that is under way. The look of every 30 s finds the events that no message reported.
    fn end(&mut self) {
        let lost = self.journal.last().is_none_or(|newest| newest.journal != JournalId::new(self.runs + 1));
        if lost {
            self.append(true);
        }
        while self.joining.is_some() {
            self.base();
        }
        for _ in 0..4 {
            while !self.channel.is_empty() {
                self.receive();
            }
            while self.task {
                self.read();
            }
            let newest = self.journal.last().map(|newest| newest.cursor);
            if self.watchers.differs(&self.tenant, newest, Some(OWNER)) {
                self.suspect();
            }
        }
        assert!(!self.task && self.channel.is_empty(), "it comes to rest");
        self.take(None);
    }
}

impl Stream {
    /// False: there is nothing to take now.
    fn take(&mut self) -> bool {
        match self.subscription.next().now_or_never() {
            None => false,
            Some(None) => {
                self.behind = true;
                false
            }
            Some(Some(Update::Event(event))) => {
                let id = event.id();
                if let Some(before) = &self.delivered {
                    assert!(before.cursor < id.cursor, "{before} was received before {id}");
                    let follows = before.journal != id.journal || id.follows(before);
                    assert!(follows, "between {before} and {id} something is missing");
                }
                (self.delivered, self.begun) = (Some(id), true);
                (self.last, self.stale) = (Some(id), false);
                true
            }
            Some(Some(Update::Refresh(shown))) => {
                let id = shown.event.id();
                (self.last, self.stale) = (Some(id), shown.stale);
                self.begun |= !shown.stale;
                if !shown.stale && self.delivered.is_none_or(|delivered| delivered.cursor < id.cursor) {
                    // It begins there: the next event follows this one.
                    self.delivered = Some(id);
                }
                true
            }
        }
    }
}

#[test]
fn every_stream_comes_to_the_newest_event_in_order() {
    check("joins", CHEAP, schedules(), |(empty, steps)| {
        let mut world = World::new(empty);
        steps.iter().for_each(|step| world.step(step));
        world.end();
        let newest = world.journal.last().map(|newest| newest.id());
        for (at, stream) in world.streams.iter().enumerate() {
            assert!(stream.behind || stream.last == newest, "stream {at} stands at {:?}, not {newest:?}", stream.last);
            assert!(stream.behind || !stream.stale, "stream {at} goes on showing a stale status");
        }
    });
}
