//! The scripts, one for each change. Redis runs them atomically and caches them (EVALSHA; loaded if missing).

use std::{sync::LazyLock, time::Duration};

use redis::{FromRedisValue, ScriptInvocation, ToRedisArgs, aio::MultiplexedConnection};

use super::{
    client::failure::Failure,
    schema::Part::{self, Crashes, History, Messages, Other, Record, Requests, Tables, UsedCodes, UsedDials},
};
use crate::{store::Limited, tenant::TenantId};

/// A script and every key that it may touch, in the order of KEYS. It also touches codes and rows, whose names it learns only
/// while it runs (`scripts/names.lua`).
pub struct Script {
    keys: &'static [Part],
    compiled: LazyLock<redis::Script>,
}

/// Gives each key a name in the script. A key that the caller leaves out at the end is nil; further keys follow from
/// KEYS[NAMED + 1] on.
fn compile(keys: &[Part], text: &str) -> redis::Script {
    let names: Vec<_> = keys.iter().map(|key| key.local()).collect();
    redis::Script::new(&format!("local {} = unpack(KEYS)\nlocal NAMED = {}\n{text}", names.join(", "), names.len()))
}

/// Keys that belong to no tenant. Unless a script says otherwise, `owned` and `inbox` belong to the tenant's owner.
const OUTBOX: Part = Other("outbox");
const WANTED: Part = Other("wanted");
const ALIVE: Part = Other("alive");
const REGISTRATIONS: Part = Other("registrations");
const VACANT: Part = Other("vacant");
const OWNED: Part = Other("owned");
const INBOX: Part = Other("inbox");

macro_rules! scripts {
    ($($name:ident [$($key:expr),+] = $($file:literal)+;)+) => {
        $(pub static $name: Script = {
            const KEYS: &[Part] = &[$($key),+];
            const TEXT: &str = concat!($(include_str!(concat!("scripts/", $file, ".lua")), "\n"),+);
            Script { keys: KEYS, compiled: LazyLock::new(|| compile(KEYS, TEXT)) }
        };)+
    };
}

scripts! {
    ACQUIRE [Record, History, Messages, OUTBOX, WANTED, ALIVE, OWNED, Other("owned_before"), Other("inbox_before")] = "names" "prelude" "run" "event" "own" "acquire";
    APPEND [Record, History, OUTBOX] = "names" "prelude" "run" "event" "append";
    BEAT [ALIVE] = "beat";
    REGISTER [Other("incarnations"), REGISTRATIONS, VACANT, ALIVE, Other("past_alive")] = "register";
    COUNT [Other("idle_time")] = "count";
    CRASH [Record, History, Crashes] = "names" "prelude" "crash";
    ERASE [Record, History, Tables] = "names" "prelude" "erase";
    FINISH [Record, History, OUTBOX, WANTED, OWNED] = "names" "prelude" "run" "event" "finish";
    FORGET [Record, History, Tables, Messages, Requests, Crashes, UsedCodes, UsedDials, OUTBOX, WANTED] = "names" "prelude" "forget";
    LEAVE [Other("incarnations"), VACANT, ALIVE, OWNED, INBOX] = "run" "leave";
    LISTED [Other("incarnations"), WANTED] = "listed";
    LOSE [Record, History, OUTBOX] = "names" "prelude" "event" "lose";
    MIGRATING [Other("proof"), Other("lock")] = "migrating";
    NAME [Record, History, WANTED] = "names" "prelude" "name";
    NUMBER [Other("used")] = "number";
    PROVE [Other("proof")] = "prove";
    READ [Record, History, Tables] = "names" "look" "read";
    RELEASE [Record, History, WANTED, OWNED, REGISTRATIONS] = "names" "prelude" "release";
    RESEAL [Record, History] = "names" "reseal";
    REVOKE [Other("revocations")] = "revoke";
    RECEIVE [Record, History, Messages] = "names" "prelude" "receive";
    SEND [Record, History, Messages, INBOX] = "names" "prelude" "send";
    SUBMIT [
        Record, History, Tables, Messages, Requests, UsedCodes, UsedDials, OUTBOX, WANTED, ALIVE, OWNED, Other("owned_before"), INBOX
    ] = "names" "prelude" "run" "look" "event" "own" "submit";
    SETTLE [OUTBOX] = "tenants" "prelude" "settle";
    TAKE [OUTBOX] = "tenants" "prelude" "take";
    VOCABULARY [Other("proof")] = "vocabulary";
    WRITE [Record, History, Tables] = "names" "prelude" "write";
}

/// A script with its keys and arguments, ready to be run once or again.
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
    /// The tenant, if the script writes an outbox entry.
    outbox_entry_of: Option<TenantId>,
}

impl Call {
    /// With the tenant's keys. [`Self::key`] adds the others.
    pub fn on(script: &'static Script, tenant: &TenantId) -> Self {
        let keys = script.keys.iter().map_while(|key| key.key(tenant)).collect();
        Self { script, keys, arguments: Vec::new(), outbox_entry_of: None }
    }

    /// With keys that belong to no tenant.
    pub fn on_keys(script: &'static Script, keys: impl IntoIterator<Item = String>) -> Self {
        Self { script, keys: keys.into_iter().collect(), arguments: Vec::new(), outbox_entry_of: None }
    }

    /// Adds the next key that belongs to no tenant.
    pub fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.arguments.extend(argument.to_redis_args());
        self
    }

    pub fn args(mut self, arguments: &[Vec<u8>]) -> Self {
        self.arguments.extend_from_slice(arguments);
        self
    }

    pub fn with_outbox_entry_of(self, tenant: TenantId) -> Self {
        Self { outbox_entry_of: Some(tenant), ..self }
    }

    pub fn outbox_entry_of(&self) -> Option<&TenantId> {
        self.outbox_entry_of.as_ref()
    }

    /// The arguments behind the first `skipped`.
    pub fn into_arguments(mut self, skipped: usize) -> Vec<Vec<u8>> {
        self.arguments.split_off(skipped)
    }

    pub async fn run<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, Failure> {
        Ok(self.invocation().invoke_async(connection).await?)
    }

    /// For one of the first calls on a connection.
    pub async fn greet<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, Failure> {
        self.invocation().invoke_async(connection).await.map_err(Failure::greeted_with)
    }

    fn invocation(&self) -> ScriptInvocation<'static> {
        let mut invocation = self.script.compiled.prepare_invoke();
        self.keys.iter().for_each(|key| _ = invocation.key(key));
        self.arguments.iter().for_each(|argument| _ = invocation.arg(argument.as_slice()));
        invocation
    }
}

/// A script's value, and how many instances received the event that it published. `None`: the answer is that of a repeated
/// call.
pub fn with_heard(value: &str) -> (&str, Option<usize>) {
    value.split_once(' ').map_or((value, None), |(value, heard)| (value, heard.parse().ok()))
}

/// The answer of a script that changes a tenant.
pub enum Answer {
    Done(String),
    /// The record has changed since the decision.
    Again,
    Fenced,
    Overtaken,
    /// The incarnation that was to acquire the lease has expired.
    Unregistered,
    /// It is another run of Redis than that of the decision.
    Moved,
    /// The request exceeds this limit and changed nothing; the time until it is allowed.
    Limited(Limited, Duration),
}

impl TryFrom<(String, String)> for Answer {
    type Error = Failure;

    fn try_from((word, value): (String, String)) -> Result<Self, Failure> {
        match word.as_str() {
            "done" => Ok(Self::Done(value)),
            "again" => Ok(Self::Again),
            "fenced" => Ok(Self::Fenced),
            "overtaken" => Ok(Self::Overtaken),
            "unregistered" => Ok(Self::Unregistered),
            "moved" => Ok(Self::Moved),
            "limited" => limited(&value).ok_or(Failure::Nonsense(value)),
            _ => Err(Failure::Nonsense(word)),
        }
    }
}

/// Parses `LIMIT MS`: the limit that is used up, and how long to wait.
fn limited(value: &str) -> Option<Answer> {
    let (name, wait) = value.split_once(' ')?;
    let limited = match name {
        "pair-codes" => Limited::PairCodes,
        "dials" => Limited::Dials,
        _ => return None,
    };
    Some(Answer::Limited(limited, Duration::from_millis(wait.parse().ok()?)))
}
