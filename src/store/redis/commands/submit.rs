//! Saves a user's request, and in the same step acquires the lease of the session that acts on it.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue as _, Value};
use tokio::time::Instant;

use crate::{
    events::Event,
    limit::Limit,
    store::{
        DesiredState, Generation, StoreError, Submitted, Usage,
        redis::{
            Shared,
            client::{connection::Live, failure::Failure},
            encryption::sealed::{Outgoing, Seals, with_event},
            journal::{
                log_unheard,
                read::{ReadAnswer, Reading},
                record::{Owner, Record, nonce_text},
                write::DECISIONS_MAX,
            },
            ownership::leases::Acquiring,
            random_name, schema,
            script::{Answer, Call, SUBMIT},
        },
        takeover::starting,
    },
    tenant::TenantId,
};

/// A request that could not be saved in this time is not decided again. Its client may have given up and sent another request,
/// which the older one would replace.
const SUBMIT_TIME_MAX: Duration = Duration::from_secs(3);

/// What a request changes, decided on a record.
struct Decision<'a> {
    number: u64,
    /// Nothing is left to do: there is no link to give up.
    is_fulfilled: bool,
    usage: Usage,
    /// Of the record before: what the script compares and clears.
    version: String,
    owner: Option<Owner>,
    is_owned: bool,
    /// The record after.
    record: Record,
    event: Option<Arc<Event>>,
    /// The lease to acquire in the same step, and its incarnation.
    acquires: Option<(Acquiring<'a>, Arc<str>)>,
}

/// The first attempt is decided without a read, as for an unknown tenant, and is final for one. A refusal answers the record,
/// on which the next attempt is decided.
pub async fn submit(
    shared: &Arc<Shared>,
    tenant: &TenantId,
    request: DesiredState,
    mut may_acquire: bool,
) -> Result<Submitted, StoreError> {
    let (token, seals) = (random_name(), shared.seals(tenant));
    let until = Instant::now() + SUBMIT_TIME_MAX;
    let mut reading = Reading::default();
    for attempt in 0..=DECISIONS_MAX {
        if attempt > 1 && Instant::now() >= until {
            return Err(Failure::Late.into());
        }
        let live = shared.connections.live().await?;
        let previous = reading.record.newest.clone();
        let decision = shared.decide(reading, &request, may_acquire, &live).await?;
        let owner = decision.next_owner();
        let outgoing =
            decision.event.as_ref().map(|event| seals.outgoing(previous.as_deref(), event, owner.as_deref()));
        let call = decision.call(shared, tenant, &seals, &token, &live, outgoing.as_ref());
        shared.tasks.check_open()?;
        let answer: (String, Value) = shared.connections.call_with_retries(&call).await?;
        let value = match answer {
            (word, found) if word == "again" => {
                let found = ReadAnswer::from_redis_value(found).map_err(|_| Failure::Nonsense(word))?;
                reading = shared.reading_of(tenant, None, found).await?;
                if reading.needs_nothing(&request) {
                    let Reading { record, is_owned, .. } = reading;
                    let (number, shown) = (Generation(record.generation), record.facts(is_owned).shown());
                    return Ok(Submitted { number, lease: None, shown });
                }
                continue;
            }
            (word, value) => String::from_redis_value(value).map(|value| (word, value)),
        };
        let value = value.map_err(|_| Failure::Nonsense("submit".to_owned()))?;
        return match value.try_into()? {
            Answer::Unregistered => {
                // Our incarnation has just died. The request is saved without a lease, for the next incarnation or for others.
                (may_acquire, reading) = (false, Reading::default());
                continue;
            }
            Answer::Moved => {
                shared.connections.renew_after(&live).await;
                reading = Reading::default();
                continue;
            }
            Answer::Done(value) => {
                call.outbox_entry_of().into_iter().for_each(|tenant| shared.has_appended(tenant.clone()));
                decision.done(shared, tenant, &live, &value)
            }
            Answer::Limited(limited, wait) => Err(limited.after(wait)),
            Answer::Again | Answer::Fenced | Answer::Overtaken => Err(Failure::Nonsense("fenced".to_owned()).into()),
        };
    }
    Err(Failure::Contended.into())
}

impl Reading {
    /// The request is "disconnect", and writes nothing: it was sent before, or nothing is left that it could end.
    fn needs_nothing(&self, request: &DesiredState) -> bool {
        let Record { desired, owner, credentials, .. } = &self.record;
        let facts = self.record.facts(self.is_owned);
        let is_over = facts.fulfils(request) && !credentials && desired.is_none() && owner.is_none();
        is_over || facts.repeats_unlink(request)
    }
}

impl Shared {
    async fn decide(
        &self,
        reading: Reading,
        request: &DesiredState,
        may_acquire: bool,
        live: &Live,
    ) -> Result<Decision<'_>, StoreError> {
        let Reading { mut record, is_owned, .. } = reading;
        let (version, owner) = (record.version.clone(), record.owner.clone());
        // A Redis that lost the newest desired state must not give its number to the next one: an owner that has read the lost
        // one would fulfil the next.
        let number = live.time_ms().max(record.generation.saturating_add(1));
        let facts = record.facts(is_owned);
        let (usage, starts) = (facts.usage(request), facts.starts(request));
        let is_fulfilled = facts.fulfils(request) && !record.credentials;
        let desired = facts.complete(request.clone());
        record.desired = (!is_fulfilled).then_some((Generation(number), desired));
        let mut acquires = None;
        if may_acquire && !is_owned && !is_fulfilled {
            // Before the incarnation is read: if that one ends meanwhile, this acquire ends with it.
            let acquiring = self.leases.begin_acquire();
            let here = self.membership.here();
            let is_free = !record.credentials || self.may_acquire_linked(&record, live).await?;
            acquires = here.filter(|_| is_free).map(|here| (acquiring, here));
        }
        let status = match &acquires {
            _ if starts => Some(starting()),
            Some(_) => record.facts(false).takeover_status(),
            None => None,
        };
        record.doubted |= record.facts(is_owned).is_stale();
        let event = status.and_then(|status| record.append(status, self.clock.now(), live));
        if acquires.is_none() {
            record.doubted |= record.facts(is_owned).is_stale();
        }
        Ok(Decision { number, is_fulfilled, usage, version, owner, is_owned, record, event, acquires })
    }
}

impl Decision<'_> {
    /// The incarnation that owns the tenant after the request.
    fn next_owner(&self) -> Option<String> {
        match &self.acquires {
            Some((_, here)) => Some(here.to_string()),
            None => self.owner.clone().filter(|_| self.is_owned).map(|owner| owner.incarnation),
        }
    }

    fn call(
        &self,
        shared: &Shared,
        tenant: &TenantId,
        seals: &Seals,
        token: &str,
        live: &Live,
        event: Option<&Outgoing>,
    ) -> Call {
        let here = self.acquires.as_ref().map_or("", |(_, here)| &**here);
        let mut call = Call::on(&SUBMIT, tenant).key(schema::outbox()).key(schema::wanted());
        call = call.key(schema::heartbeat(here)).key(schema::owned(here));
        if let Some(Owner { incarnation, .. }) = &self.owner {
            call = call.key(schema::owned(incarnation)).key(schema::inbox(incarnation));
        }
        let desired = self.record.desired.as_ref();
        let sealed = desired.map_or(Vec::new(), |(_, desired)| seals.desired(self.number, desired));
        let call = call.arg(token).arg(self.number).arg(sealed).arg(&self.version);
        let call = call.arg(u8::from(self.record.doubted)).arg(&self.record.run);
        let call = with_limit(call, self.usage.pair_code, shared.limits.pair_codes);
        let call = with_limit(call, self.usage.dial, shared.limits.dials);
        let call = call.arg(u8::from(self.is_owned)).arg(shared.membership.instance());
        let nonce = self.acquires.as_ref().map_or(String::new(), |(acquiring, _)| nonce_text(acquiring.nonce));
        let needs_refresh = self.event.is_none() && self.record.doubted;
        let call = call.arg(nonce).arg(here).arg(shared.leases.highest_fence()).arg(u8::from(needs_refresh));
        // Redis may have lost, after the reading, what this decision continues.
        let was_read = !self.version.is_empty();
        let call = call.arg(live.known_run().filter(|_| was_read).unwrap_or_default());
        with_event(call, event)
    }

    /// `value`: the number, how many instances received the event, and the fence.
    fn done(self, shared: &Shared, tenant: &TenantId, live: &Live, value: &str) -> Result<Submitted, StoreError> {
        let mut words = value.split(' ');
        let (number, heard, fence) = (words.next(), words.next(), words.next());
        let parsed = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        let nonsense = || Failure::Nonsense(value.to_owned());
        let number = Generation(parsed(number).ok_or_else(nonsense)?);
        log_unheard(tenant, self.event, heard.and_then(|heard| heard.parse().ok()));
        let mut record = self.record;
        let Some((acquiring, here)) = self.acquires else {
            let owned_elsewhere =
                self.is_owned && self.owner.is_some_and(|o| !shared.membership.is_here(&o.incarnation));
            // An owner elsewhere was notified by the script.
            if !self.is_fulfilled && !owned_elsewhere {
                shared.notifications.add(tenant.clone());
            }
            return Ok(Submitted { number, lease: None, shown: record.facts(self.is_owned).shown() });
        };
        let fence = parsed(fence).ok_or_else(nonsense)?;
        shared.membership.count_takeover(self.owner.as_ref());
        record.owner = Some(Owner { incarnation: here.to_string(), nonce: acquiring.nonce });
        record.version = nonce_text(acquiring.nonce);
        record.generation = number.0;
        let shown = record.facts(true).shown();
        let lease = acquiring.done(tenant, &here, fence, (live.run.clone(), record));
        Ok(Submitted { number, lease, shown })
    }
}

/// How many in how many ms; empty if the request does not use it.
fn with_limit(call: Call, is_used: bool, limit: Limit) -> Call {
    if is_used { call.arg(limit.count()).arg(limit.per_ms()) } else { call.arg("").arg("") }
}
