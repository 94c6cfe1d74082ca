use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use rand::RngExt as _;
use redis::{
    Msg,
    aio::{PubSub, PubSubSink},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{Shared, audience::Order, connection::ANSWER_TIME_MAX, keys, sealed::Message, trouble::Trouble};
use crate::tenant::TenantId;

/// Channels in one SUBSCRIBE.
const BATCH_MAX: usize = 512;
/// Tenants that are read at once after a reconnect.
const READ_AT_ONCE: usize = 32;
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Three probes.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Whoever looks at a page waits for it.
const RETRY_MAX: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// Holds the one subscription connection of this process, for as long as it lives. The library's own reconnecting gives
/// up silently when Redis is away for long, so none of it is used.
pub async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut retry = RETRY_MAX / 16;
    loop {
        let trouble = tokio::select! {
            () = shared.stop.cancelled() => return,
            ended = connected(&shared, &mut orders, &mut retry) => ended,
        };
        tracing::warn!(error = %trouble, "the subscription to redis broke, making it anew");
        shared.audience.not_delivering();
        let pause = rand::rng().random_range(retry / 2..retry);
        retry = (retry * 2).min(RETRY_MAX);
        // What is ordered meanwhile is watched already and is subscribed with all the rest.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.connections.made() => {}
            () = sleep(pause) => {}
        }
    }
}

async fn connected(shared: &Arc<Shared>, orders: &mut mpsc::Receiver<Order>, retry: &mut Duration) -> Trouble {
    match shared.connections.pubsub().await {
        Ok((pubsub, server)) => tokio::select! {
            moved = shared.connections.leave(&server) => moved,
            ended = listen(shared, orders, pubsub, &server, retry) => ended.err().unwrap_or(Trouble::Closed),
        },
        Err(trouble) => trouble,
    }
}

async fn listen(
    shared: &Arc<Shared>,
    orders: &mut mpsc::Receiver<Order>,
    pubsub: PubSub,
    server: &str,
    retry: &mut Duration,
) -> Result<(), Trouble> {
    let (mut sink, mut messages) = pubsub.split();
    let probe = keys::probe(&shared.instance);
    in_time(sink.subscribe(&[keys::NUDGES, keys::REVOKED, &probe])).await?;
    shared.audience.hears();
    let watched = shared.audience.tenants();
    for batch in watched.chunks(BATCH_MAX) {
        subscribe(shared, &mut sink, batch).await?;
    }
    *retry = RETRY_MAX / 16;
    if !watched.is_empty() {
        tracing::info!(tenants = watched.len(), "subscribed anew, reading what was missed");
        shared.catch_up_with_all(watched);
    }
    let mut probes = interval(PROBE_EVERY);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval(Duration::from_secs(1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compared = Instant::now();
    let mut heard = Instant::now();
    let mut condition = shared.condition.subscribe();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            message = messages.next() => {
                let message = message.ok_or_else(|| Trouble::Away("end of stream".to_owned()))?;
                heard = Instant::now();
                handle(shared, server, &message);
            }
            // Cancel safe: what was received stays in the batch, which is empty at each turn.
            received = orders.recv_many(&mut batch, BATCH_MAX) => {
                if received == 0 {
                    return Ok(());
                }
                let tenants: Vec<_> = batch.iter().map(|(tenant, _)| tenant.clone()).collect();
                subscribe(shared, &mut sink, &tenants).await?;
                // Who does not wait any more has read without it, and may have missed what came between.
                let late = batch.drain(..).filter_map(|(tenant, done)| done.send(()).err().map(|()| tenant)).collect();
                shared.catch_up_with_all(late);
            }
            // Commands go unanswered, so what is published may be on its way to nobody, too.
            Ok(()) = condition.changed() => {
                if condition.borrow_and_update().away {
                    return Err(Trouble::Away("no answer".to_owned()));
                }
            }
            _ = looks.tick() => {
                let deserted = shared.audience.deserted();
                for batch in deserted.chunks(BATCH_MAX) {
                    let channels: Vec<_> = batch.iter().map(keys::told).collect();
                    in_time(sink.unsubscribe(&channels)).await?;
                }
                if compared.elapsed() >= COMPARE_EVERY {
                    compared = Instant::now();
                    shared.tasks.spawn(shared.clone().compare());
                }
            }
            _ = probes.tick() => {
                // A ping of this connection would prove that it lives, not that what is published arrives.
                if heard.elapsed() >= SILENCE_MAX {
                    return Err(Trouble::Slow(SILENCE_MAX));
                }
                let shared = shared.clone();
                shared.clone().tasks.spawn(async move {
                    let mut pipeline = redis::pipe();
                    pipeline.cmd("PUBLISH").arg(keys::probe(&shared.instance)).arg("").ignore();
                    shared.best_effort(&pipeline).await;
                });
            }
        }
    }
}

async fn subscribe(shared: &Shared, sink: &mut PubSubSink, tenants: &[TenantId]) -> Result<(), Trouble> {
    let channels: Vec<_> = tenants.iter().map(keys::told).collect();
    in_time(sink.subscribe(&channels)).await?;
    shared.audience.listening(tenants);
    Ok(())
}

/// The library waits for the answer for ever.
async fn in_time(answer: impl Future<Output = redis::RedisResult<()>>) -> Result<(), Trouble> {
    Ok(timeout(ANSWER_TIME_MAX, answer).await.map_err(|_| Trouble::Slow(ANSWER_TIME_MAX))??)
}

/// Never waits for a tenant: the library's queue of messages has no bound, so it has to stay empty.
fn handle(shared: &Arc<Shared>, server: &str, message: &Msg) {
    shared.is_heard();
    let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
    if channel == keys::REVOKED {
        shared.hear_revocation(payload);
        return;
    }
    if channel == keys::NUDGES {
        let text = String::from_utf8_lossy(payload);
        let mut words = text.split(' ');
        if let (Some(instance), Some(tenant), leaving) = (words.next(), words.next(), words.next())
            && instance != shared.instance
            && let Ok(tenant) = TenantId::parse(tenant)
        {
            shared.census.leaves(leaving.unwrap_or_default());
            shared.notifications.add(tenant);
        }
        return;
    }
    let Some(tenant) = keys::tenant_of_told(channel) else { return };
    let suspect = match shared.seals(&tenant).open_message(payload) {
        Some(Message::Event { previous, event, owner }) => {
            shared.connections.saw(event.cursor.epoch);
            shared.audience.hear(server, &tenant, previous, *event, owner)
        }
        Some(Message::Notice) | None => shared.audience.suspect(&tenant),
    };
    if suspect {
        shared.catch_up(tenant);
    }
}

impl Shared {
    /// Reads a tenant that is marked as being read until its readers have been told everything.
    pub fn catch_up(self: &Arc<Self>, tenant: TenantId) {
        let shared = self.clone();
        self.tasks.spawn(async move { shared.caught_up(&tenant).await });
    }

    pub fn catch_up_with_all(self: &Arc<Self>, tenants: Vec<TenantId>) {
        let shared = self.clone();
        self.tasks.spawn(async move {
            stream::iter(tenants)
                .for_each_concurrent(READ_AT_ONCE, |tenant| {
                    let shared = shared.clone();
                    async move {
                        if shared.audience.suspect(&tenant) {
                            shared.caught_up(&tenant).await;
                        }
                    }
                })
                .await;
        });
    }

    async fn caught_up(&self, tenant: &TenantId) {
        while !self.stop.is_cancelled() && self.audience.is_watched(tenant) {
            let (server, from) = (self.audience.server(), self.audience.read_from(tenant));
            match self.read_on(tenant, from.cursor).await {
                Ok(reading) if self.audience.misses(tenant, &reading) => {
                    // Whether it is said here or by another, it is read with the next turn.
                    let pause = match self.lose(tenant).await {
                        Ok(()) => RETRY_MAX / 16,
                        Err(error) => {
                            tracing::debug!(%tenant, %error, "tenant could not be told to be lost, trying again");
                            RETRY_MAX
                        }
                    };
                    sleep(pause).await;
                }
                Ok(reading) => {
                    if !self.audience.caught_up(&server, tenant, from, reading, self.clock.now()) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%tenant, %error, "tenant could not be read, trying again");
                    let pause = rand::rng().random_range(RETRY_MAX / 4..RETRY_MAX);
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }
}
