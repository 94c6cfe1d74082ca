use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, Pipeline};
use tokio::{sync::MutexGuard, time::sleep};

use super::{
    RedisStore, Shared,
    connection::Live,
    leases::{Held, Writes},
    record::{Record, nonce_text},
    script::{Answer, Call, Script},
    trouble::Trouble,
};
use crate::{
    events::Event,
    store::{Lease, StoreError},
};

/// Tries to decide on a record that others change meanwhile. Nobody but its owner and its user changes one.
pub const DECISIONS_MAX: usize = 16;

/// When a change looks again whether there is room to remember it.
const ROOM_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Nonce, fence and number stand before a write's own arguments.
const NUMBERING: usize = 3;

/// The one write of a lease that is under way, with the number that makes its repetitions known.
pub struct Write<'a> {
    shared: &'a Shared,
    lease: &'a Lease,
    held: &'a Held,
    writes: MutexGuard<'a, Writes>,
    number: u64,
}

impl RedisStore {
    /// Runs commands once.
    pub async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.shared().tasks.check_open()?;
        Ok(self.shared().connections.query(pipeline).await?)
    }

    /// A change of the credentials, which no decision depends on. Remembered for a while: Redis may come back without it.
    pub async fn change(
        &self,
        lease: &Lease,
        script: &'static Script,
        arguments: impl FnOnce(Call) -> Call,
    ) -> Result<(), StoreError> {
        let held = self.shared().held(lease)?;
        let mut write = loop {
            let mut write = Write::begin(self.shared(), lease, &held).await;
            if write.writes.has_room(self.shared().leases.now()) {
                break write;
            }
            drop(write);
            sleep(ROOM_AGAIN_AFTER).await;
            self.shared().held(lease)?;
        };
        let call = arguments(write.call(script));
        write.ask_plainly(&call).await?;
        write.writes.remember(self.shared().leases.now(), script, call.into_arguments(NUMBERING));
        Ok(())
    }

    /// What is only counted.
    pub async fn count(
        &self,
        lease: &Lease,
        script: &'static Script,
        arguments: impl FnOnce(Call) -> Call,
    ) -> Result<usize, StoreError> {
        let held = self.shared().held(lease)?;
        let mut write = Write::begin(self.shared(), lease, &held).await;
        let call = arguments(write.call(script));
        let count = write.ask_plainly(&call).await?;
        count.parse().map_err(|_| Trouble::Nonsense(count).into())
    }
}

impl Shared {
    /// What is not known here cannot be ours: a lease of another instance, or one that was given back.
    pub fn held(&self, lease: &Lease) -> Result<Arc<Held>, StoreError> {
        self.tasks.check_open()?;
        self.leases.held(lease.nonce()).ok_or(StoreError::Fenced)
    }

    pub async fn ask_script(&self, call: &Call) -> Result<Answer, StoreError> {
        self.tasks.check_open()?;
        let answer: (String, String) = self.connections.call_surely(call).await?;
        let answer = answer.try_into()?;
        if let (Some(tenant), Answer::Done(_)) = (call.notice(), &answer) {
            self.has_said(tenant.clone());
        }
        Ok(answer)
    }
}

impl<'a> Write<'a> {
    pub async fn begin(shared: &'a Shared, lease: &'a Lease, held: &'a Held) -> Self {
        let mut writes = held.writes.lock().await;
        let number = writes.next_number();
        Self { shared, lease, held, writes, number }
    }

    /// The record to decide on, taken: it is known again once the write is done. And what is true of the server, asked
    /// after it was read: a record of before its restart is then of another run, and its sequence is not gone on with.
    pub async fn record(&mut self) -> Result<(Record, Arc<Live>), StoreError> {
        let live = self.live().await?;
        match self.writes.record.take() {
            Some((run, record)) if run == live.run => Ok((record, live)),
            _ => {
                let record = self.shared.read(self.lease.tenant(), None).await?.record;
                Ok((record, self.live().await?))
            }
        }
    }

    pub fn newest(&self) -> Option<Arc<Event>> {
        self.writes.newest()
    }

    /// As `changed` in `scripts/prelude.lua` leaves it.
    pub fn done(&mut self, record: Record, live: &Live) {
        let version = format!("{} {}", nonce_text(self.lease.nonce()), self.number);
        self.writes.record = Some((live.run.clone(), Record { version, ..record }));
    }

    async fn live(&self) -> Result<Arc<Live>, StoreError> {
        Ok(self.shared.connections.live().await?)
    }

    pub fn incarnation(&self) -> &str {
        &self.held.incarnation
    }

    pub fn call(&self, script: &'static Script) -> Call {
        let call = Call::on(script, self.lease.tenant());
        call.arg(nonce_text(self.lease.nonce())).arg(self.lease.fence()).arg(self.number)
    }

    /// A call that decides on nothing.
    async fn ask_plainly(&mut self, call: &Call) -> Result<String, StoreError> {
        let answer = self.ask(call).await?;
        answer.ok_or_else(|| Trouble::Nonsense("again".to_owned()).into())
    }

    /// Again what may have been lost with a crash of Redis, in its order, each part under a number of its own. Nothing else
    /// of the lease comes between, or what is older would stand on what is newer.
    pub async fn repeat(&mut self) -> Result<(), StoreError> {
        for (script, arguments) in self.writes.recent() {
            let call = self.call(script).args(&arguments);
            self.ask_plainly(&call).await?;
            self.number = self.writes.next_number();
        }
        Ok(())
    }

    /// `None`: it was decided on what is not true any more. The next decision is another write, with a number of its own:
    /// this one may have been done in a run of the server that has lost it.
    pub async fn ask(&mut self, call: &Call) -> Result<Option<String>, StoreError> {
        match self.shared.ask_script(call).await? {
            Answer::Done(value) => Ok(Some(value)),
            Answer::Again => {
                self.number = self.writes.next_number();
                Ok(None)
            }
            Answer::Overtaken => Err(Trouble::Overtaken.into()),
            Answer::Unborn | Answer::Limited(..) => Err(Trouble::Nonsense("limited".to_owned()).into()),
            Answer::Fenced => {
                self.shared.leases.end(self.lease.nonce());
                Err(StoreError::Fenced)
            }
        }
    }
}
