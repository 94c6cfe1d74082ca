use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Pipeline,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use super::{
    current::Current,
    failure::Failure,
    layout::{self, LAYOUT, Numbers},
    migration::{Migrator, Step},
    server::Server,
    unusable::UnusableServer,
    url::Url,
};
use crate::store::{
    Migration,
    crypt::MasterKeys,
    redis::{
        encryption::proof::{self, RotationState, prove},
        membership::Tag,
        moving, random_name,
        schema::{self, proof_field},
        script::Call,
    },
};

/// More than any of our commands needs, and well below the 6 s after which an owner hangs up.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long after a failure callers get the same error at once. Without this each of them would wait for its own.
const FAIL_FAST: Duration = Duration::from_millis(200);
/// Attempts of a call that the script does not run twice.
const TRIES: usize = 3;

/// The connections for all commands, made again whenever one breaks. They are used only after checks: the server can be used,
/// and holds data that our keys open.
pub struct Connections {
    url: Url,
    keys: Arc<MasterKeys>,
    /// See [`crate::store::redis::Settings::moving`].
    moving: Option<String>,
    /// Steps from earlier layouts, and whether this process may take them.
    migrations: (&'static [Migration<Step>], bool),
    /// Names this process while it migrates.
    migrator: String,
    current: Mutex<Current>,
    server: watch::Sender<String>,
    /// The highest epoch that was ever seen from here.
    epochs: Arc<AtomicU64>,
}

/// The connections to one server, and facts about it that stay true as long as they last.
pub struct Live {
    connection: MultiplexedConnection,
    /// Only for heartbeats: answers come in order, so behind a large one a heartbeat would be late, and an owner hang up.
    heartbeats: MultiplexedConnection,
    client: Client,
    server: String,
    /// The run of the server and its data set. Another run may have lost the last second's writes, so sequences begin a
    /// new epoch with it.
    pub run: String,
    made: Instant,
    epochs: Arc<AtomicU64>,
    /// The server's clock when it was made.
    time_ms: u64,
    /// The latest time at which the server's run can have begun; `None`: not known.
    began: Option<Instant>,
    /// See [`Server::replication`]; empty if it is not known.
    replication: String,
}

impl Connections {
    pub fn new(
        url: Url,
        keys: Arc<MasterKeys>,
        moving: Option<String>,
        migrations: (&'static [Migration<Step>], bool),
    ) -> Self {
        Self {
            url,
            keys,
            moving,
            migrations,
            migrator: random_name(),
            current: Mutex::default(),
            server: watch::Sender::default(),
            epochs: Arc::default(),
        }
    }

    pub async fn live(&self) -> Result<Arc<Live>, Failure> {
        let mut current = self.current.lock().await;
        if let Some(live) = &current.live {
            return Ok(live.clone());
        }
        if let Some((at, why)) = current.failed.as_ref().filter(|(at, _)| at.elapsed() < FAIL_FAST) {
            tracing::trace!(ago = ?at.elapsed(), "redis was away just now");
            return Err(why.clone());
        }
        let mut made = self.connect(&mut current).await;
        // Before the first connection: later on, sessions may run here by what they know of the data.
        if matches!(made, Err(Failure::UnusableServer(UnusableServer::Unmigrated)))
            && self.migrations.1
            && !current.began
        {
            made = match self.migrate().await {
                Ok(()) => self.connect(&mut current).await,
                Err(failure) => Err(failure),
            };
        }
        match made {
            Ok(live) => {
                let live = Arc::new(live);
                self.server.send_replace(live.server.clone());
                current.live = Some(live.clone());
                (current.failed, current.unusable, current.began) = (None, None, true);
                Ok(live)
            }
            Err(failure) => {
                current.fail(failure.clone());
                Err(failure)
            }
        }
    }

    /// The run of the server of the newest connection; changed before the first command uses that connection.
    pub fn server(&self) -> watch::Receiver<String> {
        self.server.subscribe()
    }

    /// The next command goes over a new connection.
    pub async fn renew(&self) {
        self.current.lock().await.live = None;
    }

    /// The next command goes over a new connection, unless there is one already.
    pub async fn renew_after(&self, live: &Arc<Live>) {
        let mut current = self.current.lock().await;
        if current.live.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            current.live = None;
        }
    }

    pub async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Failure> {
        let live = self.live().await?;
        let answer = live.query(pipeline).await;
        self.look_at(&live, answer).await
    }

    /// As [`Self::query`], for a heartbeat. The answer is small.
    pub async fn beat<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Failure> {
        let live = self.live().await?;
        let answer = pipeline.query_async(&mut live.heartbeats.clone()).await.map_err(Failure::from);
        self.look_at(&live, answer).await
    }

    pub async fn call<T: FromRedisValue>(&self, call: &Call) -> Result<T, Failure> {
        let live = self.live().await?;
        let answer = call.run(&mut live.connection.clone()).await;
        self.look_at(&live, answer).await
    }

    /// Retries the call if it is not known whether it ran. Only for scripts that recognise a repeated call.
    pub async fn call_with_retries<T: FromRedisValue>(&self, call: &Call) -> Result<T, Failure> {
        let mut tries = 1;
        loop {
            match self.call(call).await {
                Err(failure) if failure.is_passing() && tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// A connection for messages, to the same server that commands go to, and that server's run.
    pub async fn pubsub(&self) -> Result<(PubSub, String), Failure> {
        self.follow().await?;
        let live = self.live().await?;
        let made = timeout(CONNECT_TIME_MAX, live.client.get_async_pubsub()).await;
        let made = made.map_err(|_| Failure::Slow(CONNECT_TIME_MAX)).and_then(|made| Ok(made?));
        Ok((self.look_at(&live, made).await?, live.server.clone()))
    }

    /// Returns once commands go to another server than this one.
    pub async fn leave(&self, server: &str) -> Failure {
        // An error means that the store was dropped.
        let _ = self.server().wait_for(|now| now != server).await;
        Failure::Away("commands go to another server".to_owned())
    }

    /// Returns once commands have a new connection: Redis is there again.
    pub async fn made(&self) {
        // An error means that the store was dropped.
        let _ = self.server().changed().await;
    }

    /// Reads the direction of a key rotation again.
    pub async fn rotation_state(&self) -> Result<RotationState, Failure> {
        let live = self.live().await?;
        let mut connection = live.connection.clone();
        let state = async {
            let found = proof::find(&mut connection).await?;
            prove(&mut connection, &self.keys, false, found).await
        };
        let state = state.await;
        self.look_at(&live, state).await
    }

    /// Drops a connection to a server that is not the master any more, although it still answers.
    async fn follow(&self) -> Result<(), Failure> {
        let client = self.client().await?;
        let mut current = self.current.lock().await;
        let address = |client: &Client| client.get_connection_info().addr().to_string();
        if current.live.as_ref().is_some_and(|live| address(&live.client) != address(&client)) {
            current.live = None;
        }
        Ok(())
    }

    async fn client(&self) -> Result<Client, Failure> {
        timeout(CONNECT_TIME_MAX, self.url.client()).await.map_err(|_| Failure::Slow(CONNECT_TIME_MAX))?
    }

    async fn connect(&self, current: &mut Current) -> Result<Live, Failure> {
        let client = self.client().await?;
        let made = timeout(CONNECT_TIME_MAX, Live::connect(client, self, !current.began)).await;
        let (mut live, server) = made.map_err(|_| Failure::Slow(CONNECT_TIME_MAX))??;
        live.began = current.began_at(&live.server, &server);
        if current.warned.as_deref() != Some(live.server.as_str()) {
            server.dangers().into_iter().for_each(|danger| tracing::warn!("{danger}"));
            current.warned = Some(live.server.clone());
        }
        Ok(live)
    }

    async fn migrate(&self) -> Result<(), Failure> {
        let migrator = Migrator { migrations: self.migrations.0, to: LAYOUT, token: &self.migrator };
        migrator.run(&self.client().await?, &self.keys).await
    }

    /// An epoch that readers have seen: a fresh one is above it, also if the clock of the next Redis is behind.
    pub fn saw(&self, epoch: u64) {
        self.epochs.fetch_max(epoch, Ordering::Relaxed);
    }

    async fn look_at<T>(&self, live: &Arc<Live>, answer: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &answer {
            failure.count();
        }
        if answer.as_ref().is_err_and(Failure::breaks) {
            self.renew_after(live).await;
        }
        answer
    }
}

/// Gives the data set its id, if no other instance has: a random name, and the run in which it begins.
async fn name_data(connection: &mut MultiplexedConnection, run: &str) -> Result<String, Failure> {
    let mut pipeline = redis::pipe();
    let name = format!("{}-{run}", random_name());
    pipeline.cmd("SET").arg(schema::data()).arg(name).arg("NX").ignore();
    pipeline.cmd("GET").arg(schema::data());
    let (data,) = pipeline.query_async(connection).await.map_err(Failure::greeted_with)?;
    Ok(data)
}

impl Live {
    async fn connect(client: Client, connections: &Connections, begins: bool) -> Result<(Self, Server), Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX));
        let connect = async || {
            let made = Box::pin(client.get_multiplexed_async_connection_with_config(&config)).await;
            made.map_err(Failure::greeted_with)
        };
        // If the server restarts between the two, the older one breaks, and both are made again.
        let (mut connection, heartbeats) = tokio::try_join!(connect(), connect())?;
        let server = Server::ask(&mut connection).await?;
        server.check()?;
        let mut ask = redis::pipe();
        ask.cmd("HMGET").arg(schema::PROOF).arg(&proof::FIELDS).arg(proof_field::LAYOUT).arg(proof_field::VOCABULARY);
        ask.arg(proof_field::MOVING).arg(proof_field::MIGRATING);
        ask.cmd("GET").arg(schema::data()).cmd("TIME");
        type Proof = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>, Option<u64>, Option<String>, Option<u64>);
        let ((proof, former, layout, vocabulary, moving, migrating), data, (seconds, micros)): (
            Proof,
            Option<String>,
            (u64, u64),
        ) = ask.query_async(&mut connection).await.map_err(Failure::greeted_with)?;
        let made = Instant::now();
        // Before the first write. What exists is not written again, so a Redis that refuses writes can be read.
        moving::check(moving.as_deref(), connections.moving.as_deref())?;
        let numbers = Numbers { layout, migrating, vocabulary };
        let unwritten = numbers.check(proof.is_some(), begins, connections.migrations.0)?;
        prove(&mut connection, &connections.keys, begins, (proof, former)).await?;
        if unwritten {
            layout::raise_vocabulary(&mut connection).await?;
        }
        let run = server.run();
        let data = match data {
            Some(data) => data,
            None => name_data(&mut connection, &run).await?,
        };
        let time_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        let server_run = run.clone();
        let replication = server.replication().unwrap_or_default().to_owned();
        let run = format!("{run} {data}");
        let epochs = connections.epochs.clone();
        let live = Self {
            connection,
            heartbeats,
            client,
            server: server_run,
            run,
            made,
            epochs,
            time_ms,
            began: None,
            replication,
        };
        Ok((live, server))
    }

    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Failure> {
        Ok(pipeline.query_async(&mut self.connection.clone()).await?)
    }

    /// As [`Server::run`]; `None` if the run is not known.
    pub fn known_run(&self) -> Option<&str> {
        (!self.replication.is_empty()).then_some(&self.server)
    }

    pub fn tag(&self) -> Tag {
        Tag::of(&self.server)
    }

    /// The server has followed another one since the connection was made, which `REPLICAOF` leaves open. `info`: its answer to
    /// `INFO replication`.
    pub fn is_left_by(&self, info: String) -> bool {
        !self.replication.is_empty() && Server::from(info).replication().is_some_and(|now| now != self.replication)
    }

    /// The server's run is younger than this, and may lack what an earlier run had.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.began.is_some_and(|began| began.elapsed() < age) && !self.data().ends_with(&self.server)
    }

    /// The data set's id. Another id means that all data is lost.
    pub fn data(&self) -> &str {
        self.run.split_once(' ').map_or("", |(_, data)| data)
    }

    /// Later epochs are higher, by the clock of Redis. The last digits are random.
    pub fn fresh_epoch(&self) -> u64 {
        let epoch = (self.time_ms() << 12) | u64::from(rand::random::<u16>() >> 4);
        epoch.max(self.epochs.load(Ordering::Relaxed).saturating_add(1))
    }

    /// The clock of Redis, nearly.
    pub fn time_ms(&self) -> u64 {
        self.time_ms + u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX >> 16)
    }
}
