use std::sync::Arc;

use redis::{FromRedisValue, Pipeline, Script};
use tokio::sync::MutexGuard;

use super::{
    RedisStore, Shared,
    connection::Live,
    leases::{Held, Writes},
    record::{Record, nonce_text},
    script::{Answer, Call},
    trouble::Trouble,
};
use crate::store::{Lease, StoreError};

/// Tries to decide on a record that others change meanwhile. Nobody but its owner and its user changes one.
pub const DECISIONS_MAX: usize = 16;

/// The one write of a lease that is under way, with the number that makes its repetitions known.
pub struct Write<'a> {
    shared: &'a Shared,
    lease: &'a Lease,
    held: &'a Held,
    writes: MutexGuard<'a, Writes>,
    number: u64,
}

impl RedisStore {
    pub async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        self.shared().check_open()?;
        Ok(self.shared().connections.query(pipeline).await?)
    }

    /// A change under the lease which no decision depends on.
    pub async fn change(
        &self,
        lease: &Lease,
        script: &'static Script,
        arguments: impl FnOnce(Call<'static>) -> Call<'static>,
    ) -> Result<String, StoreError> {
        let held = self.shared().held(lease)?;
        let write = Write::begin(self.shared(), lease, &held).await;
        let call = arguments(write.call(script));
        let answer = write.ask(&call).await?;
        answer.ok_or_else(|| Trouble::Nonsense("again".to_owned()).into())
    }
}

impl Shared {
    /// What is not known here cannot be ours: a lease of another instance, or one that was given back.
    pub fn held(&self, lease: &Lease) -> Result<Arc<Held>, StoreError> {
        self.check_open()?;
        self.leases.held(lease.nonce()).ok_or(StoreError::Fenced)
    }

    pub async fn ask_script(&self, call: &Call<'_>) -> Result<Answer, StoreError> {
        self.check_open()?;
        let answer: (String, String) = self.connections.call_surely(call).await?;
        Ok(answer.try_into()?)
    }
}

impl<'a> Write<'a> {
    pub async fn begin(shared: &'a Shared, lease: &'a Lease, held: &'a Held) -> Self {
        let mut writes = held.writes.lock().await;
        let number = writes.next_number();
        Self { shared, lease, held, writes, number }
    }

    /// The record to decide on, taken: it is known again once the write is done.
    pub async fn record(&mut self, live: &Live) -> Result<Record, StoreError> {
        match self.writes.record.take() {
            Some((run, record)) if run == live.run => Ok(record),
            _ => Ok(self.shared.read(self.lease.tenant(), None).await?.record),
        }
    }

    pub fn done(&mut self, record: Record, live: &Live) {
        self.writes.record = Some((live.run.clone(), Record { version: record.version + 1, ..record }));
    }

    pub async fn live(&self) -> Result<Arc<Live>, StoreError> {
        Ok(self.shared.connections.live().await?)
    }

    pub fn incarnation(&self) -> &str {
        &self.held.incarnation
    }

    pub fn call(&self, script: &'static Script) -> Call<'static> {
        let call = Call::on(script, self.lease.tenant());
        call.arg(nonce_text(self.lease.nonce())).arg(self.lease.fence()).arg(self.number)
    }

    /// `None`: it was decided on what is not true any more.
    pub async fn ask(&self, call: &Call<'_>) -> Result<Option<String>, StoreError> {
        match self.shared.ask_script(call).await? {
            Answer::Done(value) => Ok(Some(value)),
            Answer::Again => Ok(None),
            Answer::Overtaken => Err(Trouble::Overtaken.into()),
            Answer::Fenced => {
                self.shared.leases.end(self.lease.nonce());
                Err(StoreError::Fenced)
            }
        }
    }
}
