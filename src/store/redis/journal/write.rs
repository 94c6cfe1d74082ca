use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, Pipeline};
use tokio::{sync::MutexGuard, time::sleep};

use super::record::{Record, nonce_text};
use crate::{
    events::Event,
    store::{
        Lease, StoreError,
        redis::{
            RedisStore, Shared,
            client::{connection::Live, failure::Failure},
            ownership::leases::{Held, Writes},
            script::{Answer, Call, Script},
        },
    },
};

/// Attempts to decide on a record that others change meanwhile. Only its owner and its user change one.
pub const DECISIONS_MAX: usize = 16;

/// The pause before a change checks again whether there is room to remember it.
const ROOM_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Nonce, fence and number stand before a write's own arguments.
const NUMBERING: usize = 3;

/// The one write of a lease that is under way, with the number by which the script recognises a repetition.
pub struct Write<'a> {
    shared: &'a Shared,
    lease: &'a Lease,
    held: &'a Held,
    writes: MutexGuard<'a, Writes>,
    number: u64,
    /// The connection over which the record that the write is decided on was read or written. `None`: it needs no record.
    decided_over: Option<Arc<Live>>,
}

impl RedisStore {
    /// Sends commands once, without a retry.
    pub async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.shared().tasks.check_open()?;
        Ok(self.shared().connections.query(pipeline).await?)
    }

    /// Changes the credentials. The change is remembered for a while, in case Redis loses it.
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

    /// Runs a script that counts.
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
        count.parse().map_err(|_| Failure::Nonsense(count).into())
    }
}

impl Shared {
    /// An unknown lease belongs to another instance, or was released.
    pub fn held(&self, lease: &Lease) -> Result<Arc<Held>, StoreError> {
        self.tasks.check_open()?;
        self.leases.held(lease.nonce()).ok_or(StoreError::Fenced)
    }

    pub async fn ask_script(&self, call: &Call) -> Result<Answer, StoreError> {
        self.tasks.check_open()?;
        let answer: (String, String) = self.connections.call_with_retries(call).await?;
        let answer = answer.try_into()?;
        if let (Some(tenant), Answer::Done(_)) = (call.outbox_entry_of(), &answer) {
            self.has_appended(tenant.clone());
        }
        Ok(answer)
    }
}

impl<'a> Write<'a> {
    pub async fn begin(shared: &'a Shared, lease: &'a Lease, held: &'a Held) -> Self {
        let mut writes = held.writes.lock().await;
        let number = writes.next_number();
        Self { shared, lease, held, writes, number, decided_over: None }
    }

    /// Takes the record to decide on; it is known again once the write is done. The connection is read after the record: if Redis
    /// was restarted in between, the record is of another run, and its sequence is not continued.
    pub async fn record(&mut self) -> Result<(Record, Arc<Live>), StoreError> {
        let live = self.live().await?;
        let (record, live) = match self.writes.record.take() {
            Some((run, record)) if run == live.run => (record, live),
            _ => (self.shared.read(self.lease.tenant(), None).await?.record, self.live().await?),
        };
        self.decided_over = Some(live.clone());
        Ok((record, live))
    }

    /// What the script compares, or '' if it need not. A call that fails is repeated over another connection, maybe to a Redis that
    /// has lost its last writes, and a server that followed another one for a moment may have lost them behind an open connection.
    /// Without this, an event would continue what was lost, under an id that readers know.
    pub fn run_to_compare(&self) -> &str {
        self.decided_over.as_ref().and_then(|live| live.known_run()).unwrap_or_default()
    }

    pub fn newest(&self) -> Option<Arc<Event>> {
        self.writes.newest()
    }

    /// Keeps the record as `changed` in `scripts/prelude.lua` leaves it.
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

    /// For a call that was not decided on a version of the record.
    async fn ask_plainly(&mut self, call: &Call) -> Result<String, StoreError> {
        let answer = self.ask(call).await?;
        answer.ok_or_else(|| Failure::Nonsense("again".to_owned()).into())
    }

    /// Repeats the changes that a crash of Redis may have lost, in their order, each under a new number. No other write of the lease
    /// comes between: an older change would replace a newer one.
    pub async fn repeat(&mut self) -> Result<(), StoreError> {
        for (script, arguments) in self.writes.recent() {
            let call = self.call(script).args(&arguments);
            self.ask_plainly(&call).await?;
            self.number = self.writes.next_number();
        }
        Ok(())
    }

    /// `None`: the record has changed since the decision. The next decision gets a new number: this one may have been written in a
    /// run that has lost it.
    pub async fn ask(&mut self, call: &Call) -> Result<Option<String>, StoreError> {
        match self.shared.ask_script(call).await? {
            Answer::Done(value) => Ok(Some(value)),
            Answer::Again => {
                self.number = self.writes.next_number();
                Ok(None)
            }
            Answer::Moved => {
                if let Some(live) = &self.decided_over {
                    self.shared.connections.renew_after(live).await;
                }
                self.number = self.writes.next_number();
                Ok(None)
            }
            Answer::Overtaken => Err(Failure::Overtaken.into()),
            Answer::Unregistered | Answer::Limited(..) => Err(Failure::Nonsense("limited".to_owned()).into()),
            Answer::Fenced => {
                self.shared.leases.end(self.lease.nonce());
                Err(StoreError::Fenced)
            }
        }
    }
}
