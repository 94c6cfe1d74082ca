use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, stream};
use rand::RngExt as _;
use redis::{
    Msg,
    aio::{PubSub, PubSubSink},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    store::redis::{
        Shared,
        client::{connection::ANSWER_TIME_MAX, failure::Failure},
        encryption::sealed::Message,
        schema,
    },
    tenant::TenantId,
};

/// Channels in one SUBSCRIBE.
const BATCH_MAX: usize = 512;
/// Tenants that are read concurrently after a reconnect.
const READ_AT_ONCE: usize = 32;
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Three probes.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Users wait for this.
const RETRY_MAX: Duration = Duration::from_millis(500);
const RETRY_MIN: Duration = Duration::from_millis(RETRY_MAX.as_millis() as u64 / 16);
/// A reader waits for its channel no longer, and begins with a stale status.
const LISTEN_TIME_MAX: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// Asks for a tenant's channel; answered once messages arrive from it.
pub type Order = (TenantId, oneshot::Sender<()>);

/// Holds the one connection of this process that receives messages. Does not use the library's own reconnect: that gives up
/// silently when Redis is away for long.
pub async fn run(shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut retry = RETRY_MIN;
    loop {
        let failure = tokio::select! {
            () = shared.tasks.stopped() => return,
            ended = connected(&shared, &mut orders, &mut retry) => ended,
        };
        // Once, and not for each try while Redis is away or cannot be used.
        if retry == RETRY_MIN {
            tracing::warn!(error = %failure, "the subscription to redis broke, subscribing again");
        } else {
            tracing::debug!(error = %failure, "subscribing to redis failed");
        }
        shared.watchers.not_delivering();
        let pause = rand::rng().random_range(retry / 2..retry);
        retry = (retry * 2).min(RETRY_MAX);
        // Tenants that are ordered meanwhile are watched already, and are subscribed with the others.
        tokio::select! {
            () = shared.tasks.stopped() => return,
            () = shared.connections.made() => {}
            () = sleep(pause) => {}
        }
    }
}

async fn connected(shared: &Arc<Shared>, orders: &mut mpsc::Receiver<Order>, retry: &mut Duration) -> Failure {
    match shared.connections.pubsub().await {
        Ok((pubsub, server)) => tokio::select! {
            moved = shared.connections.leave(&server) => moved,
            ended = listen(shared, orders, pubsub, &server, retry) => ended.err().unwrap_or(Failure::Closed),
        },
        Err(failure) => failure,
    }
}

async fn listen(
    shared: &Arc<Shared>,
    orders: &mut mpsc::Receiver<Order>,
    pubsub: PubSub,
    server: &str,
    retry: &mut Duration,
) -> Result<(), Failure> {
    let (mut sink, mut messages) = pubsub.split();
    let probe = schema::probe(shared.membership.instance());
    in_time(sink.subscribe(&[schema::notifications(), schema::revoked(), probe])).await?;
    shared.watchers.connected();
    let watched = shared.watchers.tenants();
    for batch in watched.chunks(BATCH_MAX) {
        subscribe(shared, &mut sink, batch).await?;
    }
    *retry = RETRY_MIN;
    if !watched.is_empty() {
        tracing::info!(tenants = watched.len(), "subscribed again, reading missed events");
        shared.catch_up_with_all(watched);
    }
    let mut probes = interval(PROBE_EVERY);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval(Duration::from_secs(1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compared = Instant::now();
    let mut heard = Instant::now();
    let mut condition = shared.health.condition();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            message = messages.next() => {
                let message = message.ok_or_else(|| Failure::Away("end of stream".to_owned()))?;
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
                // What arrived before the answer: see `arrived`.
                while let Some(Some(message)) = messages.next().now_or_never() {
                    handle(shared, server, &message);
                }
                // A reader that stopped waiting has read without the subscription, and may have missed events since.
                let late = batch.drain(..).filter_map(|(tenant, done)| done.send(()).err().map(|()| tenant)).collect();
                shared.catch_up_with_all(late);
            }
            // Commands are not answered, so messages may not arrive either.
            Ok(()) = condition.changed() => {
                if condition.borrow_and_update().away {
                    return Err(Failure::Away("no answer".to_owned()));
                }
            }
            _ = looks.tick() => {
                let deserted = shared.watchers.deserted();
                for batch in deserted.chunks(BATCH_MAX) {
                    let channels: Vec<_> = batch.iter().map(schema::events).collect();
                    in_time(sink.unsubscribe(&channels)).await?;
                }
                if compared.elapsed() >= COMPARE_EVERY {
                    compared = Instant::now();
                    shared.tasks.spawn(shared.clone().reconcile());
                }
            }
            _ = probes.tick() => {
                // A ping would prove that the connection lives, and not that messages arrive.
                if heard.elapsed() >= SILENCE_MAX {
                    return Err(Failure::Slow(SILENCE_MAX));
                }
                let shared = shared.clone();
                shared.clone().tasks.spawn(async move {
                    let mut pipeline = redis::pipe();
                    pipeline.cmd("PUBLISH").arg(schema::probe(shared.membership.instance())).arg("").ignore();
                    shared.best_effort(&pipeline).await;
                });
            }
        }
    }
}

async fn subscribe(shared: &Shared, sink: &mut PubSubSink, tenants: &[TenantId]) -> Result<(), Failure> {
    let channels: Vec<_> = tenants.iter().map(schema::events).collect();
    in_time(sink.subscribe(&channels)).await?;
    shared.watchers.listening(tenants);
    Ok(())
}

/// The library would wait for the answer without a limit.
async fn in_time(answer: impl Future<Output = redis::RedisResult<()>>) -> Result<(), Failure> {
    Ok(timeout(ANSWER_TIME_MAX, answer).await.map_err(|_| Failure::Slow(ANSWER_TIME_MAX))??)
}

/// Never waits for a tenant: the library's queue of messages has no limit, so it has to stay empty.
fn handle(shared: &Arc<Shared>, server: &str, message: &Msg) {
    shared.health.heard();
    let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
    if channel == schema::revoked() {
        shared.hear_revocation(payload);
        return;
    }
    if channel == schema::notifications() {
        let text = String::from_utf8_lossy(payload);
        let mut words = text.split(' ');
        if let (Some(instance), Some(tenant), leaving) = (words.next(), words.next(), words.next())
            && instance != shared.membership.instance()
            && let Ok(tenant) = TenantId::parse_encoded(tenant)
        {
            shared.membership.leaves(leaving.unwrap_or_default());
            shared.notifications.add(tenant);
        }
        return;
    }
    let Some(tenant) = schema::tenant_of_events(channel) else { return };
    let suspect = match shared.seals(&tenant).open_message(payload) {
        Some(Message::Event { previous, event, owner }) => {
            shared.connections.saw(event.cursor.epoch);
            shared.watchers.receive(server, &tenant, previous, *event, owner)
        }
        Some(Message::Refresh) | None => shared.watchers.suspect(&tenant),
    };
    if suspect {
        shared.catch_up(tenant);
    }
}

impl Shared {
    /// Returns once messages of the tenant arrive here, or after a limit; then the tenant is caught up with later.
    pub async fn listen(&self, tenant: &TenantId) {
        if self.watchers.is_listening(tenant) || !self.watchers.is_delivering() {
            return;
        }
        if self.health.is_away() {
            // Does not wait, since Redis may be away. It may also be back already: the listener has then subscribed the channels of
            // all tenants watched until then, and only this order makes it subscribe this tenant's channel.
            let (done, _) = oneshot::channel();
            if self.orders.try_send((tenant.clone(), done)).is_ok() {
                return;
            }
        }
        self.arrived(tenant).await;
    }

    /// Returns once the tenant's channel is subscribed and all is handled here that was published before, or after a limit:
    /// Redis answers a subscription, also a repeated one, behind the messages that it has sent.
    async fn arrived(&self, tenant: &TenantId) {
        let (done, arrives) = oneshot::channel();
        let listening = async {
            // An error says that the store closes.
            if self.orders.send((tenant.clone(), done)).await.is_ok() {
                let _ = arrives.await;
            }
        };
        let _ = timeout(LISTEN_TIME_MAX, listening).await;
    }

    /// Reads a tenant that is marked as being read, until its readers have received everything.
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
                        if shared.watchers.suspect(&tenant) {
                            shared.caught_up(&tenant).await;
                        }
                    }
                })
                .await;
        });
    }

    async fn caught_up(&self, tenant: &TenantId) {
        while !self.tasks.is_stopped() && self.watchers.is_watched(tenant) {
            let (server, from) = (self.watchers.server(), self.watchers.read_from(tenant));
            match self.read_on(tenant, from.cursor).await {
                Ok(reading) if self.watchers.misses(tenant, &reading) => {
                    // The next turn reads what this instance or another one appends.
                    let pause = match self.lose(tenant).await {
                        Ok(()) => RETRY_MIN,
                        Err(error) => {
                            tracing::debug!(%tenant, %error, "loss of the tenant could not be appended, retrying");
                            RETRY_MAX
                        }
                    };
                    sleep(pause).await;
                }
                Ok(reading) => {
                    if from.is_missed_by(&reading) && self.watchers.is_delivering() {
                        // The events between may have been sent here before an unlink removed them.
                        self.arrived(tenant).await;
                    }
                    if !self.watchers.caught_up(&server, tenant, from, reading, self.clock.now()) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%tenant, %error, "tenant could not be read, retrying");
                    let pause = rand::rng().random_range(RETRY_MAX / 4..RETRY_MAX);
                    tokio::select! {
                        () = self.tasks.stopped() => return,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }
}
