//! The scripts: one for each change, atomic, under a short name in Redis's cache (EVALSHA; loaded where it is missing).

use std::sync::LazyLock;

use redis::{FromRedisValue, Script, ToRedisArgs, aio::MultiplexedConnection};

use super::{keys, trouble::Trouble};
use crate::tenant::TenantId;

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(pub static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("scripts/", $file, ".lua")), "\n"),+)));)+
    };
}

scripts! {
    ACQUIRE = "prelude" "acquire";
    APPEND = "prelude" "append";
    ERASE = "prelude" "erase";
    FINISH = "prelude" "finish";
    PROVE = "prove";
    READ = "read";
    RELEASE = "prelude" "release";
    RESEAL = "reseal";
    TAKE = "take";
    WANT = "prelude" "want";
    WRITE = "prelude" "write";
}

/// A script with its keys and arguments, ready to be run once or again.
pub struct Call<'a>(redis::ScriptInvocation<'a>);

impl Call<'static> {
    pub fn on(script: &'static Script, tenant: &TenantId) -> Self {
        let mut invocation = script.prepare_invoke();
        invocation.key(keys::record(tenant)).key(keys::history(tenant));
        Self(invocation)
    }

    pub fn on_key(script: &'static Script, key: String) -> Self {
        let mut invocation = script.prepare_invoke();
        invocation.key(key);
        Self(invocation)
    }
}

impl Call<'_> {
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.0.arg(argument);
        self
    }

    pub async fn run<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, Trouble> {
        Ok(self.0.invoke_async(connection).await?)
    }

    /// As one of the first calls on a connection.
    pub async fn greet<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, Trouble> {
        self.0.invoke_async(connection).await.map_err(Trouble::greeted_with)
    }
}

/// What a script that changes a tenant answers.
pub enum Answer {
    Done(String),
    /// What it was decided on is not true any more.
    Again,
    Fenced,
    Overtaken,
}

impl TryFrom<(String, String)> for Answer {
    type Error = Trouble;

    fn try_from((word, value): (String, String)) -> Result<Self, Trouble> {
        match word.as_str() {
            "done" => Ok(Self::Done(value)),
            "again" => Ok(Self::Again),
            "fenced" => Ok(Self::Fenced),
            "overtaken" => Ok(Self::Overtaken),
            _ => Err(Trouble::Nonsense(word)),
        }
    }
}
