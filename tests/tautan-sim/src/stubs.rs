//! Links that lead nowhere, for what takes too many links for a simulator or happens too seldom on one. A tenant's name
//! says which kind it has; every other tenant's link is a real one.

use std::{
    hash::{DefaultHasher, Hasher as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tautan::{
    app::Wrap,
    events::{Account, PhoneNumber},
    link_options::LinkOptions,
    session::{ConnectError, Connector, End, Link, Request, Signal},
    store::Lease,
    tenant::TenantId,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::ticking::Ticking;

/// A chatty link's pause between two signals, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 20..500;
/// Long enough that no code of a chatty link expires during a test.
const CODE_LIFETIME: Duration = Duration::from_secs(600);
const CODES_MAX: u32 = 6;
/// How long telling WhatsApp of an unlink takes.
const UNLINK_TIME: Duration = Duration::from_millis(50);
/// A panicking link is up for so long, enough for others to see it.
const STANZA_AFTER: Duration = Duration::from_millis(300);

/// `folder`: once there is a file `calm` in it, chatty links connect and fall silent.
pub fn beside_the_real(folder: &Path, seed: u64, tick: Duration) -> Wrap {
    let calm = folder.join("calm");
    Box::new(move |real| Arc::new(Stubs { real, calm, seed, tick, opened: AtomicU64::new(0) }))
}

struct Stubs {
    real: Arc<dyn Connector>,
    calm: PathBuf,
    seed: u64,
    /// The pace of ticking links.
    tick: Duration,
    opened: AtomicU64,
}

#[async_trait]
impl Connector for Stubs {
    async fn open(&self, lease: &Lease, options: &LinkOptions) -> Result<Box<dyn Link>, ConnectError> {
        let tenant = lease.tenant();
        let stanza = match tenant.as_str().split('-').next() {
            Some("idle") => None,
            Some("panic") => Some(STANZA_AFTER),
            Some("ticking") => return Ok(Box::new(Ticking::new(number(tenant), self.tick))),
            Some("chatty") => {
                let seed = (self.seed, std::process::id(), self.opened.fetch_add(1, Ordering::Relaxed));
                return Ok(Box::new(Chatty::new(tenant, hash(seed), self.calm.clone())));
            }
            _ => return self.real.open(lease, options).await,
        };
        Ok(Box::new(Quiet { phone: number(tenant), account: Some(account(tenant, tenant.to_string())), stanza }))
    }
}

fn hash(value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Every tenant's own, the same in each process.
fn number(tenant: &TenantId) -> PhoneNumber {
    let number = format!("62{:011}", hash(tenant.as_str()) % 100_000_000_000);
    PhoneNumber::parse(&number).expect("it is all digits")
}

fn account(tenant: &TenantId, name: String) -> Account {
    Account { phone: number(tenant), name: Some(name), platform: None }
}

/// Is connected at once and says nothing more, or meets a stanza it cannot stand.
struct Quiet {
    phone: PhoneNumber,
    account: Option<Account>,
    stanza: Option<Duration>,
}

#[async_trait]
impl Link for Quiet {
    fn resumes(&self) -> Option<PhoneNumber> {
        Some(self.phone.clone())
    }

    async fn next(&mut self) -> Option<Signal> {
        if let Some(account) = self.account.take() {
            return Some(Signal::Connected { account });
        }
        match self.stanza {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
        panic!("a bad stanza")
    }

    async fn send(&mut self, _: Request) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn close(self: Box<Self>) {}

    async fn unlink(self: Box<Self>) -> Result<(), ConnectError> {
        Ok(())
    }
}

/// Goes through a link's life over and over. Whatever it says has the tenant's name in it, its own, and a number that
/// rises, so that a test knows its session and its order.
struct Chatty {
    tenant: TenantId,
    name: String,
    said: u64,
    codes: u32,
    state: State,
    due: Instant,
    random: StdRng,
    calm: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pairing,
    Scanned,
    Up,
    Down,
    Over,
}

impl Chatty {
    fn new(tenant: &TenantId, seed: u64, calm: PathBuf) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // A tenant that was connected before is resumed, as if it had credentials.
        let state = if random.random_bool(0.5) { State::Pairing } else { State::Down };
        let name = format!("{seed:016x}");
        Self { tenant: tenant.clone(), name, said: 0, codes: 0, state, due: Instant::now(), random, calm }
    }

    fn mark(&mut self) -> String {
        self.said += 1;
        format!("{}/{}/{}", self.tenant, self.name, self.said)
    }

    fn account(&mut self) -> Account {
        let mark = self.mark();
        account(&self.tenant, mark)
    }

    fn connected(&mut self) -> Signal {
        self.state = State::Up;
        Signal::Connected { account: self.account() }
    }

    fn say(&mut self) -> Signal {
        let dice = self.random.random_range(0..100);
        match self.state {
            State::Pairing if dice < 60 && self.codes < CODES_MAX => {
                self.codes += 1;
                let (attempt, attempts_max) = (self.codes, CODES_MAX);
                Signal::Qr { text: self.mark(), lifetime: CODE_LIFETIME, attempt, attempts_max }
            }
            State::Pairing if dice < 95 => {
                self.state = State::Scanned;
                Signal::Scanned
            }
            State::Pairing => self.end(End::CodesUsedUp),
            State::Scanned => self.connected(),
            State::Up if dice < 75 => Signal::Renamed { account: self.account() },
            State::Up if dice < 97 => {
                self.state = State::Down;
                Signal::Dropped
            }
            State::Up => self.end(End::UnlinkedByPhone),
            State::Down if dice < 80 => self.connected(),
            State::Down => Signal::Unreachable,
            State::Over => Signal::Ended(End::Internal),
        }
    }

    fn end(&mut self, end: End) -> Signal {
        self.state = State::Over;
        Signal::Ended(end)
    }
}

#[async_trait]
impl Link for Chatty {
    /// Always as if it had credentials: whether the tenant was connected before, and where, it cannot know.
    fn resumes(&self) -> Option<PhoneNumber> {
        Some(number(&self.tenant))
    }

    async fn next(&mut self) -> Option<Signal> {
        sleep_until(self.due).await;
        if self.state == State::Over {
            return None;
        }
        if self.calm.exists() {
            if self.state == State::Up {
                std::future::pending::<()>().await;
            }
            return Some(self.connected());
        }
        self.due = Instant::now() + Duration::from_millis(self.random.random_range(PAUSE_MS));
        Some(self.say())
    }

    async fn send(&mut self, _: Request) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn close(self: Box<Self>) {}

    async fn unlink(self: Box<Self>) -> Result<(), ConnectError> {
        sleep(UNLINK_TIME).await;
        Ok(())
    }
}
