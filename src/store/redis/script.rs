//! The scripts: one for each change, atomic, under a short name in Redis's cache (EVALSHA; loaded where it is missing).

use std::{sync::LazyLock, time::Duration};

use redis::{FromRedisValue, ScriptInvocation, ToRedisArgs, aio::MultiplexedConnection};

use super::{
    schema::Part::{self, Crashes, History, Other, Record, Said, Tables, UsedCodes, UsedDials, Wished},
    trouble::Trouble,
};
use crate::{store::Limited, tenant::TenantId};

/// A script and every key that it may touch, in the order of KEYS. Under the record's name it touches more: codes and rows
/// whose names it learns only while it runs (`scripts/names.lua`).
pub struct Script {
    keys: &'static [Part],
    compiled: LazyLock<redis::Script>,
}

/// Names the keys, so that no script counts them. One that the caller leaves out at the end is nil; those behind the named
/// ones follow from KEYS[NAMED + 1] on.
fn compile(keys: &[Part], text: &str) -> redis::Script {
    let names: Vec<_> = keys.iter().map(|key| key.local()).collect();
    redis::Script::new(&format!("local {} = unpack(KEYS)\nlocal NAMED = {}\n{text}", names.join(", "), names.len()))
}

/// Keys of no tenant. Where a script says nothing else, `owned` and `inbox` are of the tenant's owner.
const NOTICES: Part = Other("notices");
const WANTED: Part = Other("wanted");
const ALIVE: Part = Other("alive");
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
    ACQUIRE [Record, History, Said, NOTICES, WANTED, ALIVE, OWNED, Other("owned_before"), Other("inbox_before")] = "names" "prelude" "event" "own" "acquire";
    APPEND [Record, History, NOTICES] = "names" "prelude" "event" "append";
    BEAT [ALIVE] = "beat";
    BORN [Other("incarnations"), ALIVE, Other("past")] = "born";
    COUNT [Other("idle_time")] = "count";
    CRASH [Record, History, Crashes] = "names" "prelude" "crash";
    ERASE [Record, History, Tables] = "names" "prelude" "erase";
    FINISH [Record, History, NOTICES, WANTED, OWNED] = "names" "prelude" "event" "finish";
    FORGET [Record, History, Tables, Said, Wished, Crashes, UsedCodes, UsedDials, NOTICES, WANTED] = "names" "prelude" "forget";
    LOSE [Record, History, NOTICES] = "names" "prelude" "event" "lose";
    NAME [Record, History, WANTED] = "names" "prelude" "name";
    NUMBER [Other("used")] = "number";
    POSTPONE [Record, History, NOTICES] = "names" "prelude" "postpone";
    PROVE [Other("proof")] = "prove";
    READ [Record, History, Tables] = "names" "look" "read";
    RELEASE [Record, History, WANTED, OWNED] = "names" "prelude" "release";
    RESEAL [Record, History] = "names" "reseal";
    SAID [Record, History, Said] = "names" "prelude" "said";
    SAY [Record, History, Said, INBOX] = "names" "prelude" "say";
    SETTLE [Record, History, NOTICES] = "names" "prelude" "settle";
    SUBMIT [
        Record, History, Tables, Said, Wished, UsedCodes, UsedDials, NOTICES, WANTED, ALIVE, OWNED, Other("owned_before"), INBOX
    ] = "names" "prelude" "look" "event" "own" "submit";
    TAKE [Record, History, NOTICES] = "names" "prelude" "take";
    VOCABULARY [Other("proof")] = "vocabulary";
    WRITE [Record, History, Tables] = "names" "prelude" "write";
}

/// A script with its keys and arguments, ready to be run once or again.
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
    /// Whose notice for the back end it leaves.
    notice: Option<TenantId>,
}

impl Call {
    /// With the tenant's keys. Others follow with [`Self::key`].
    pub fn on(script: &'static Script, tenant: &TenantId) -> Self {
        let keys = script.keys.iter().map_while(|key| key.key(tenant)).collect();
        Self { script, keys, arguments: Vec::new(), notice: None }
    }

    /// Keys that belong to no tenant.
    pub fn on_keys(script: &'static Script, keys: impl IntoIterator<Item = String>) -> Self {
        Self { script, keys: keys.into_iter().collect(), arguments: Vec::new(), notice: None }
    }

    /// The next of those that belong to no tenant.
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

    pub fn noticing(self, tenant: TenantId) -> Self {
        Self { notice: Some(tenant), ..self }
    }

    pub fn notice(&self) -> Option<&TenantId> {
        self.notice.as_ref()
    }

    /// All but the first `skipped`.
    pub fn into_arguments(mut self, skipped: usize) -> Vec<Vec<u8>> {
        self.arguments.split_off(skipped)
    }

    pub async fn run<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, Trouble> {
        Ok(self.invocation().invoke_async(connection).await?)
    }

    /// As one of the first calls on a connection.
    pub async fn greet<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, Trouble> {
        self.invocation().invoke_async(connection).await.map_err(Trouble::greeted_with)
    }

    fn invocation(&self) -> ScriptInvocation<'static> {
        let mut invocation = self.script.compiled.prepare_invoke();
        self.keys.iter().for_each(|key| _ = invocation.key(key));
        self.arguments.iter().for_each(|argument| _ = invocation.arg(argument.as_slice()));
        invocation
    }
}

/// A script's value, and how many instances heard the event that it published. `None`: the call came again.
pub fn with_heard(value: &str) -> (&str, Option<usize>) {
    value.split_once(' ').map_or((value, None), |(value, heard)| (value, heard.parse().ok()))
}

/// What a script that changes a tenant answers.
pub enum Answer {
    Done(String),
    /// What it was decided on is not true any more.
    Again,
    Fenced,
    Overtaken,
    /// The incarnation that it was for is dead.
    Unborn,
    /// It was over this limit and changed nothing. How long until it is not.
    Limited(Limited, Duration),
}

impl TryFrom<(String, String)> for Answer {
    type Error = Trouble;

    fn try_from((word, value): (String, String)) -> Result<Self, Trouble> {
        match word.as_str() {
            "done" => Ok(Self::Done(value)),
            "again" => Ok(Self::Again),
            "fenced" => Ok(Self::Fenced),
            "overtaken" => Ok(Self::Overtaken),
            "unborn" => Ok(Self::Unborn),
            "limited" => limited(&value).ok_or(Trouble::Nonsense(value)),
            _ => Err(Trouble::Nonsense(word)),
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
