//! The scripts: one for each change, atomic, under a short name in Redis's cache (EVALSHA; loaded where it is missing).

use std::{sync::LazyLock, time::Duration};

use redis::{FromRedisValue, Script, ScriptInvocation, ToRedisArgs, aio::MultiplexedConnection};

use super::{keys, trouble::Trouble};
use crate::{store::Limited, tenant::TenantId};

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(pub static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("scripts/", $file, ".lua")), "\n"),+)));)+
    };
}

scripts! {
    ACQUIRE = "prelude" "acquire";
    APPEND = "prelude" "append";
    BEAT = "beat";
    BORN = "born";
    COUNT = "count";
    CRASH = "prelude" "crash";
    ERASE = "prelude" "erase";
    FINISH = "prelude" "finish";
    FORGET = "prelude" "forget";
    INDEX = "index";
    LAYOUT = "layout";
    LISTED = "listed";
    LIST = "list";
    LOSE = "prelude" "lose";
    NUMBER = "number";
    POSTPONE = "prelude" "postpone";
    PROVE = "prove";
    READ = "read";
    RELEASE = "prelude" "release";
    RESEAL = "reseal";
    REVOKE = "revoke";
    SAID = "prelude" "said";
    SAY = "prelude" "say";
    SETTLE = "prelude" "settle";
    TAKE = "prelude" "take";
    UNLIST = "unlist";
    WANT = "prelude" "want";
    WRITE = "prelude" "write";
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
    pub fn on(script: &'static Script, tenant: &TenantId) -> Self {
        Self { script, keys: vec![keys::record(tenant), keys::history(tenant)], arguments: Vec::new(), notice: None }
    }

    /// Keys that belong to no tenant, all in one slot.
    pub fn on_keys(script: &'static Script, keys: impl IntoIterator<Item = String>) -> Self {
        Self { script, keys: keys.into_iter().collect(), arguments: Vec::new(), notice: None }
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
        let mut invocation = self.script.prepare_invoke();
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
