//! A user's request, saved in one step with the lease of the session that acts on it.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue as _, Value};
use tokio::time::Instant;

use super::{
    Shared,
    connection::Live,
    journal::log_unheard,
    leases::Taking,
    random_name,
    reading::{Answer as Found, Reading},
    record::{Owner, Record, nonce_text},
    schema,
    script::{Answer, Call, SUBMIT},
    sealed::{Outgoing, Seals, with_event},
    trouble::Trouble,
    writing::DECISIONS_MAX,
};
use crate::{
    events::Event,
    limit::Limit,
    store::{DesiredState, Generation, StoreError, Submitted, Usage, takeover::starting},
    tenant::TenantId,
};

/// A request that could not be saved so soon is not decided on again. Its client may have given it up and asked for something
/// else since, which the older one would replace.
const SUBMIT_TIME_MAX: Duration = Duration::from_secs(3);

/// What a request makes of the record that it was decided on.
struct Decision<'a> {
    number: u64,
    /// Nothing is left to do: there was no link to give up.
    is_settled: bool,
    usage: Usage,
    /// The record before, as far as the script compares and clears it.
    version: String,
    owner: Option<Owner>,
    living: bool,
    /// The record after.
    record: Record,
    event: Option<Arc<Event>>,
    /// The lease to take in the same step, and for which incarnation.
    takes: Option<(Taking<'a>, Arc<str>)>,
}

/// Runs to completion if the caller is cancelled. The first try is made without a look, as for a tenant that is unknown, where
/// it is final. Refused, it brings back what the next one is decided on.
pub async fn submit(
    shared: &Arc<Shared>,
    tenant: &TenantId,
    wish: DesiredState,
    mut may_acquire: bool,
) -> Result<Submitted, StoreError> {
    let (token, seals) = (random_name(), shared.seals(tenant));
    let until = Instant::now() + SUBMIT_TIME_MAX;
    let mut reading = Reading::default();
    for tried in 0..=DECISIONS_MAX {
        if tried > 1 && Instant::now() >= until {
            return Err(Trouble::Late.into());
        }
        let live = shared.connections.live().await?;
        let previous = reading.record.newest.clone();
        let decision = shared.decide(reading, &wish, may_acquire, &live).await?;
        let owner = decision.next_owner();
        let outgoing =
            decision.event.as_ref().map(|event| seals.outgoing(previous.as_deref(), event, owner.as_deref()));
        let call = decision.call(shared, tenant, &wish, &seals, &token, outgoing.as_ref());
        shared.tasks.check_open()?;
        let answer: (String, Value) = shared.connections.call_surely(&call).await?;
        let value = match answer {
            (word, found) if word == "again" => {
                let found = Found::from_redis_value(found).map_err(|_| Trouble::Nonsense(word))?;
                reading = shared.reading_of(tenant, None, found).await?;
                continue;
            }
            (word, value) => String::from_redis_value(value).map(|value| (word, value)),
        };
        let value = value.map_err(|_| Trouble::Nonsense("submit".to_owned()))?;
        return match value.try_into()? {
            Answer::Unborn => {
                // Our incarnation has just died. The request is saved all the same, for the one that follows or for others.
                (may_acquire, reading) = (false, Reading::default());
                continue;
            }
            Answer::Done(value) => {
                call.notice().into_iter().for_each(|tenant| shared.has_said(tenant.clone()));
                decision.done(shared, tenant, &live, &value)
            }
            Answer::Limited(limited, wait) => Err(limited.after(wait)),
            Answer::Again | Answer::Fenced | Answer::Overtaken => Err(Trouble::Nonsense("fenced".to_owned()).into()),
        };
    }
    Err(Trouble::Contended.into())
}

impl Shared {
    async fn decide(
        &self,
        reading: Reading,
        wish: &DesiredState,
        may_acquire: bool,
        live: &Live,
    ) -> Result<Decision<'_>, StoreError> {
        let Reading { mut record, living, .. } = reading;
        let (version, owner) = (record.version.clone(), record.owner.clone());
        // A Redis that lost its newest wish must not give its number to the next one: whoever holds it would settle that.
        let number = live.time_ms().max(record.wishes.saturating_add(1));
        let facts = record.facts(living);
        let (usage, starts) = (facts.usage(wish), facts.starts(wish));
        let is_settled = facts.fulfils(wish) && !record.credentials;
        record.wish = (!is_settled).then(|| (Generation(number), wish.clone()));
        let mut takes = None;
        if may_acquire && !living && !is_settled {
            // Before it is known whom for: an incarnation that ends meanwhile takes it along.
            let taking = self.leases.take();
            let here = self.census.here();
            let is_free = !record.credentials || self.is_settled(live).await?;
            if !is_free {
                self.recovery.wait();
            }
            takes = here.filter(|_| is_free).map(|here| (taking, here));
        }
        let status = match &takes {
            _ if starts => Some(starting()),
            Some(_) => record.facts(false).takeover_status(),
            None => None,
        };
        record.doubted |= record.facts(living).is_stale();
        let event = status.and_then(|status| record.say(status, self.clock.now(), live));
        if takes.is_none() {
            record.doubted |= record.facts(living).is_stale();
        }
        Ok(Decision { number, is_settled, usage, version, owner, living, record, event, takes })
    }
}

impl Decision<'_> {
    /// The incarnation that stands behind the event.
    fn next_owner(&self) -> Option<String> {
        match &self.takes {
            Some((_, here)) => Some(here.to_string()),
            None => self.owner.clone().filter(|_| self.living).map(|owner| owner.incarnation),
        }
    }

    fn call(
        &self,
        shared: &Shared,
        tenant: &TenantId,
        wish: &DesiredState,
        seals: &Seals,
        token: &str,
        event: Option<&Outgoing>,
    ) -> Call {
        let here = self.takes.as_ref().map_or("", |(_, here)| &**here);
        let mut call = Call::on(&SUBMIT, tenant).key(schema::notices()).key(schema::wanted());
        call = call.key(schema::heartbeat(here)).key(schema::owned(here));
        if let Some(Owner { incarnation, .. }) = &self.owner {
            call = call.key(schema::owned(incarnation)).key(schema::inbox(incarnation));
        }
        let sealed = if self.is_settled { Vec::new() } else { seals.wish(self.number, wish) };
        let call = call.arg(token).arg(self.number).arg(sealed).arg(&self.version);
        let call = call.arg(u8::from(self.record.doubted)).arg(&self.record.run);
        let call = with_limit(call, self.usage.pair_code, shared.limits.pair_codes);
        let call = with_limit(call, self.usage.dial, shared.limits.dials);
        let call = call.arg(u8::from(self.living)).arg(shared.census.instance());
        let nonce = self.takes.as_ref().map_or(String::new(), |(taking, _)| nonce_text(taking.nonce));
        let looks = self.event.is_none() && self.record.doubted;
        let call = call.arg(nonce).arg(here).arg(shared.leases.highest_fence()).arg(u8::from(looks));
        with_event(call, event)
    }

    /// `value`: the number, how many instances heard the event, and the fence.
    fn done(self, shared: &Shared, tenant: &TenantId, live: &Live, value: &str) -> Result<Submitted, StoreError> {
        let mut words = value.split(' ');
        let (number, heard, fence) = (words.next(), words.next(), words.next());
        let parsed = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        let nonsense = || Trouble::Nonsense(value.to_owned());
        let number = Generation(parsed(number).ok_or_else(nonsense)?);
        log_unheard(tenant, self.event, heard.and_then(|heard| heard.parse().ok()));
        let mut record = self.record;
        let Some((taking, here)) = self.takes else {
            let owned_elsewhere = self.living && self.owner.is_some_and(|o| !shared.census.is_here(&o.incarnation));
            // The owner hears of it by itself.
            if !self.is_settled && !owned_elsewhere {
                shared.notifications.add(tenant.clone());
            }
            return Ok(Submitted { number, lease: None, shown: record.facts(self.living).shown() });
        };
        let fence = parsed(fence).ok_or_else(nonsense)?;
        record.owner = Some(Owner { incarnation: here.to_string(), nonce: taking.nonce });
        record.version = nonce_text(taking.nonce);
        record.wishes = number.0;
        let shown = record.facts(true).shown();
        let lease = taking.done(tenant, &here, fence, (live.run.clone(), record));
        Ok(Submitted { number, lease, shown })
    }
}

/// How many in how many ms; nothing where it is not used.
fn with_limit(call: Call, is_used: bool, limit: Limit) -> Call {
    if is_used { call.arg(limit.count()).arg(limit.per_ms()) } else { call.arg("").arg("") }
}
