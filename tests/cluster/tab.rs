use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tautan_simulator::{DeviceId, Phone};
use tautan_test_support::{Api, DEADLINE, Event, EventStream, rank, read_data_url, within};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::stage::Addresses;

/// A browser waits one to five seconds, as `retry:` says. The figures of these tests are counted from its return.
const RETRY: Duration = Duration::from_millis(100);

/// What happened to an EventSource.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// Which instance it is at.
    pub instance: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// The stream's headers are there.
    Opened,
    Event(Event),
    Closed,
    /// Another answer than 200, which would end an EventSource for good.
    Refused(StatusCode),
}

/// An EventSource: it comes back with the last id it saw, to another instance where its own is gone.
pub struct Tab {
    seen: Arc<Mutex<Vec<Seen>>>,
    grown: watch::Receiver<usize>,
    /// What [`Tab::until`] has looked at.
    read: usize,
    stop: CancellationToken,
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Tab {
    pub fn open(api: &Api, addresses: &Addresses, instance: usize, restless: Option<Restless>) -> Self {
        let (growth, grown) = watch::channel(0);
        let (seen, stop) = (Arc::default(), CancellationToken::new());
        let (api, addresses) = (api.clone(), addresses.clone());
        let reader = Reader { api, addresses, instance, restless, seen: Arc::clone(&seen), growth };
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(reader.run()));
        Self { seen, grown, read: 0, stop }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no holder panics").clone()
    }

    pub fn events(&self) -> Vec<Event> {
        let events = self.seen().into_iter().filter_map(|seen| match seen.what {
            What::Event(event) => Some(event),
            What::Opened | What::Closed | What::Refused(_) => None,
        });
        events.collect()
    }

    pub fn places(&self) -> Vec<(u64, u64)> {
        let seen = self.seen.lock().expect("no holder panics");
        let ids = seen.iter().filter_map(|seen| match &seen.what {
            What::Event(event) => event.id.as_deref(),
            What::Opened | What::Closed | What::Refused(_) => None,
        });
        ids.map(rank).collect()
    }

    /// What the page shows now, besides a code.
    pub fn status(&self) -> Value {
        let seen = self.seen.lock().expect("no holder panics");
        let last = seen.iter().rev().find_map(|seen| match &seen.what {
            What::Event(event) if event.name == "connection-status" => Some(event.data.clone()),
            What::Event(_) | What::Opened | What::Closed | What::Refused(_) => None,
        });
        last.unwrap_or_default()
    }

    pub fn has_closed(&self) -> bool {
        self.seen().iter().any(|seen| matches!(seen.what, What::Closed | What::Refused(_)))
    }

    /// The next expected event; earlier ones are skipped.
    pub async fn until_seen(&mut self, what: &str, deadline: Duration, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + deadline;
        loop {
            let found = {
                let seen = self.seen.lock().expect("no holder panics");
                let at = seen[self.read..].iter().position(&wanted);
                self.read = at.map_or(seen.len(), |at| self.read + at + 1);
                at.map(|_| seen[self.read - 1].clone())
            };
            if let Some(found) = found {
                return found;
            }
            let grows = self.grown.wait_for(|length| *length > self.read);
            if timeout_at(deadline, grows).await.is_err() {
                panic!("{what} did not come; what came:\n{}", self.story());
            }
        }
    }

    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> (Instant, Event) {
        let seen = self.until_seen(what, DEADLINE, |seen| match &seen.what {
            What::Event(event) => wanted(event),
            What::Opened | What::Closed | What::Refused(_) => false,
        });
        match seen.await {
            Seen { at, what: What::Event(event), .. } => (at, event),
            other => unreachable!("{other:?} is no event"),
        }
    }

    /// Current ones only, not stale ones.
    pub async fn until_status(&mut self, status: &str) -> (Instant, Event) {
        self.until(status, |event| event.is_status(status) && event.data["stale"] == false).await
    }

    /// Its owner is gone. The next one may have acquired it before this tab noticed.
    pub async fn until_stale(&mut self) -> (Instant, Event) {
        let gone = |event: &Event| match event.data["reason"].as_str() {
            Some("moving") => event.data["stale"] == true,
            Some("resuming") => event.data["stale"] == false,
            _ => false,
        };
        self.until("the doubt", |event| event.is_status("connecting") && gone(event)).await
    }

    pub async fn until_qr(&mut self) -> (Instant, Event) {
        self.until("qr-code", |event| event.name == "qr-code").await
    }

    /// Holds the phone before the next code.
    pub async fn scan(&mut self, phone: &Phone) -> DeviceId {
        let (_, qr) = self.until_qr().await;
        let text = read_data_url(qr.text("qrCode"));
        assert_eq!(text, qr.text("qrText"));
        within("the scan", phone.scan(&text)).await.expect("a living code")
    }

    /// Passes over what came before a moment, and looks at what came since once more.
    pub fn forget_before(&mut self, moment: Instant) {
        let seen = self.seen.lock().expect("no holder panics");
        self.read = seen.iter().take_while(|seen| seen.at < moment).count();
    }

    /// Passes over everything that came so far.
    pub fn forget(&mut self) {
        self.read = self.seen.lock().expect("no holder panics").len();
    }

    pub fn story(&self) -> String {
        let seen = self.seen();
        let Some(first) = seen.first().map(|seen| seen.at) else { return "nothing".to_owned() };
        let line = |seen: &Seen| {
            let what = match &seen.what {
                What::Event(event) => {
                    let data = event.data.to_string();
                    let shown = data.char_indices().nth(200).map_or(data.as_str(), |(end, _)| &data[..end]);
                    format!("{} {} {shown}", event.id.as_deref().unwrap_or("-"), event.name)
                }
                other => format!("{other:?}"),
            };
            format!("{:8.3} s at {}: {what}", (seen.at - first).as_secs_f64(), seen.instance)
        };
        seen.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Leaves now and then, and comes back at some instance.
pub struct Restless {
    pub random: StdRng,
    /// From here on it stays.
    pub rest: CancellationToken,
}

const STAYS_MS: std::ops::Range<u64> = 300..6_000;

impl Restless {
    async fn leave(&mut self) {
        let stays = Duration::from_millis(self.random.random_range(STAYS_MS));
        if self.rest.run_until_cancelled(sleep(stays)).await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

struct Reader {
    api: Api,
    addresses: Addresses,
    instance: usize,
    restless: Option<Restless>,
    seen: Arc<Mutex<Vec<Seen>>>,
    growth: watch::Sender<usize>,
}

impl Reader {
    async fn run(mut self) {
        let mut last_id = None;
        loop {
            if let Some((instance, base)) = self.addresses.at_or_after(self.instance) {
                self.instance = instance;
                let mut restless = self.restless.take();
                tokio::select! {
                    () = self.one_stream(&base, &mut last_id) => {}
                    () = leave(&mut restless) => self.instance = instance + 1,
                }
                self.restless = restless;
            }
            sleep(RETRY).await;
        }
    }

    async fn one_stream(&self, base: &str, last_id: &mut Option<String>) {
        let mut ask = self.api.at(base).ask(Method::GET, "events");
        if let Some(id) = &last_id {
            ask = ask.header("last-event-id", id);
        }
        // An instance that is just ending refuses connections; the client tries the next one.
        let Ok(answer) = ask.send().await else { return };
        if answer.status() != StatusCode::OK {
            return self.saw(What::Refused(answer.status()));
        }
        self.saw(What::Opened);
        let mut stream = EventStream::new(answer);
        while let Some(event) = stream.next_without_deadline().await {
            if event.id.is_some() {
                last_id.clone_from(&event.id);
            }
            self.saw(What::Event(event));
        }
        self.saw(What::Closed);
    }

    fn saw(&self, what: What) {
        let mut seen = self.seen.lock().expect("no holder panics");
        seen.push(Seen { at: Instant::now(), instance: self.instance, what });
        self.growth.send_replace(seen.len());
    }
}

async fn leave(restless: &mut Option<Restless>) {
    match restless {
        Some(restless) => restless.leave().await,
        None => std::future::pending().await,
    }
}
