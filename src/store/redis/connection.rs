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
    census::Tag,
    layout::{self, Numbers},
    proof::{self, Standing, prove},
    schema::{self, proof_field},
    script::Call,
    server::Server,
    trouble::Trouble,
    unfit::UnusableServer,
    url::Url,
};
use crate::store::crypt::MasterKeys;

/// Longer than any command of ours needs, short beside the 6 s after which an owner gives up.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// After a failure callers are answered at once for so long, or each of them would wait for its own.
const FAIL_FAST: Duration = Duration::from_millis(200);
/// Tries of a numbered call, which a repetition does not run twice.
const TRIES: usize = 3;

/// The way to Redis: one connection for all commands, made anew when it broke, never given up. No connection is used
/// before the server proved to be one that can be, and to hold what our keys open.
pub struct Connections {
    url: Url,
    keys: Arc<MasterKeys>,
    current: Mutex<Current>,
    server: watch::Sender<String>,
    /// The highest epoch that was ever seen from here.
    epochs: Arc<AtomicU64>,
}

#[derive(Default)]
struct Current {
    live: Option<Arc<Live>>,
    failed: Option<(Instant, Trouble)>,
    /// What makes it unfit is an error once, and again only after it was fit.
    unfit: Option<UnusableServer>,
    /// The run of the server whose dangers were told.
    warned: Option<String>,
    /// There was a connection, so this process has begun.
    began: bool,
    /// The run of the server that was met last, and when it began at the latest.
    run: Option<(String, Instant)>,
}

/// One connection, and what is true of the server at its other end for as long as it lasts.
pub struct Live {
    connection: MultiplexedConnection,
    client: Client,
    server: String,
    /// The run of the server and its data set. Another run may have lost the last second's writes, so sequences begin a
    /// new epoch with it.
    pub run: String,
    made: Instant,
    epochs: Arc<AtomicU64>,
    /// The server's clock when it was made.
    time_ms: u64,
    /// When the server began its run, at the latest; `None` where nothing is known of it.
    began: Option<Instant>,
    /// It took another server's place at some time.
    pub has_followed: bool,
}

impl Connections {
    pub fn new(url: Url, keys: Arc<MasterKeys>) -> Self {
        Self { url, keys, current: Mutex::default(), server: watch::Sender::default(), epochs: Arc::default() }
    }

    pub async fn live(&self) -> Result<Arc<Live>, Trouble> {
        let mut current = self.current.lock().await;
        if let Some(live) = &current.live {
            return Ok(live.clone());
        }
        if let Some((at, why)) = current.failed.as_ref().filter(|(at, _)| at.elapsed() < FAIL_FAST) {
            tracing::trace!(ago = ?at.elapsed(), "redis was away just now");
            return Err(why.clone());
        }
        let made = match self.client().await {
            Ok(client) => self.connect(client, &mut current).await,
            Err(trouble) => Err(trouble),
        };
        match made {
            Ok(live) => {
                let live = Arc::new(live);
                self.server.send_replace(live.server.clone());
                current.live = Some(live.clone());
                (current.failed, current.unfit, current.began) = (None, None, true);
                Ok(live)
            }
            Err(trouble) => {
                current.fail(trouble.clone());
                Err(trouble)
            }
        }
    }

    /// The run of the server that the newest connection leads to; changed before anything is asked over it.
    pub fn server(&self) -> watch::Receiver<String> {
        self.server.subscribe()
    }

    /// The next command goes over a new connection.
    pub async fn renew(&self) {
        self.current.lock().await.live = None;
    }

    pub async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Trouble> {
        let live = self.live().await?;
        let answer = live.query(pipeline).await;
        self.look_at(&live, answer).await
    }

    pub async fn call<T: FromRedisValue>(&self, call: &Call) -> Result<T, Trouble> {
        let live = self.live().await?;
        let answer = call.run(&mut live.connection.clone()).await;
        self.look_at(&live, answer).await
    }

    /// A call that knows its own repetition: asked again where it is not known whether it ran.
    pub async fn call_surely<T: FromRedisValue>(&self, call: &Call) -> Result<T, Trouble> {
        let mut tries = 1;
        loop {
            match self.call(call).await {
                Err(trouble) if trouble.is_passing() && tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// A connection to listen on, to the very server that commands go to, and that server's run: once commands go
    /// elsewhere, nothing is told there any more.
    pub async fn pubsub(&self) -> Result<(PubSub, String), Trouble> {
        self.follow().await?;
        let live = self.live().await?;
        let made = timeout(CONNECT_TIME_MAX, live.client.get_async_pubsub()).await;
        let made = made.map_err(|_| Trouble::Slow(CONNECT_TIME_MAX)).and_then(|made| Ok(made?));
        Ok((self.look_at(&live, made).await?, live.server.clone()))
    }

    /// Returns once commands go to another server than this one.
    pub async fn leave(&self, server: &str) -> Trouble {
        // An error says that the store is gone.
        let _ = self.server().wait_for(|now| now != server).await;
        Trouble::Away("commands go to another server".to_owned())
    }

    /// Returns once commands have a new connection: Redis is there again.
    pub async fn made(&self) {
        // An error says that the store is gone.
        let _ = self.server().changed().await;
    }

    /// Where the data goes, asked anew.
    pub async fn standing(&self) -> Result<Standing, Trouble> {
        let live = self.live().await?;
        let mut connection = live.connection.clone();
        let standing = async {
            let found = proof::find(&mut connection).await?;
            prove(&mut connection, &self.keys, false, found).await
        };
        let standing = standing.await;
        self.look_at(&live, standing).await
    }

    /// Gives up a connection to what is not the master any more, though it still answers.
    async fn follow(&self) -> Result<(), Trouble> {
        let client = self.client().await?;
        let mut current = self.current.lock().await;
        let address = |client: &Client| client.get_connection_info().addr().to_string();
        if current.live.as_ref().is_some_and(|live| address(&live.client) != address(&client)) {
            current.live = None;
        }
        Ok(())
    }

    async fn client(&self) -> Result<Client, Trouble> {
        timeout(CONNECT_TIME_MAX, self.url.client()).await.map_err(|_| Trouble::Slow(CONNECT_TIME_MAX))?
    }

    async fn connect(&self, client: Client, current: &mut Current) -> Result<Live, Trouble> {
        let made =
            timeout(CONNECT_TIME_MAX, Live::connect(client, &self.keys, self.epochs.clone(), !current.began)).await;
        let (mut live, server) = made.map_err(|_| Trouble::Slow(CONNECT_TIME_MAX))??;
        live.began = server.uptime().map(|uptime| current.began_at(&live.server, uptime));
        if current.warned.as_deref() != Some(live.server.as_str()) {
            server.dangers().into_iter().for_each(|danger| tracing::warn!("{danger}"));
            current.warned = Some(live.server.clone());
        }
        Ok(live)
    }

    /// What readers were told: a fresh epoch is above it even where the clock of the next Redis is behind.
    pub fn saw(&self, epoch: u64) {
        self.epochs.fetch_max(epoch, Ordering::Relaxed);
    }

    async fn look_at<T>(&self, live: &Arc<Live>, answer: Result<T, Trouble>) -> Result<T, Trouble> {
        if answer.as_ref().is_err_and(Trouble::breaks) {
            let mut current = self.current.lock().await;
            if current.live.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
                current.live = None;
            }
        }
        answer
    }
}

impl Current {
    /// A server that takes another's place may have run for long, but not with what the other was told last.
    fn began_at(&mut self, run: &str, uptime: Duration) -> Instant {
        let now = Instant::now();
        let began = match &self.run {
            Some((known, began)) if known == run => *began,
            Some(_) => now,
            None => now.checked_sub(uptime).unwrap_or(now),
        };
        self.run = Some((run.to_owned(), began));
        began
    }

    fn fail(&mut self, trouble: Trouble) {
        if let Trouble::UnusableServer(unfit) = trouble
            && self.unfit.replace(unfit) != Some(unfit)
        {
            tracing::error!(error = %unfit, "redis cannot be used, nothing is read or written until it can");
        }
        self.failed = Some((Instant::now(), trouble));
    }
}

/// Gives the data set its random id, if no other instance has.
async fn name_data(connection: &mut MultiplexedConnection) -> Result<String, Trouble> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg(schema::data()).arg(super::random_name()).arg("NX").ignore();
    pipeline.cmd("GET").arg(schema::data());
    let (data,) = pipeline.query_async(connection).await.map_err(Trouble::greeted_with)?;
    Ok(data)
}

impl Live {
    async fn connect(
        client: Client,
        master: &MasterKeys,
        epochs: Arc<AtomicU64>,
        begins: bool,
    ) -> Result<(Self, Server), Trouble> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(Trouble::greeted_with)?;
        let server = Server::ask(&mut connection).await?;
        server.check()?;
        let mut ask = redis::pipe();
        ask.cmd("HMGET").arg(schema::PROOF).arg(&proof::FIELDS).arg(proof_field::LAYOUT).arg(proof_field::VOCABULARY);
        ask.cmd("GET").arg(schema::data()).cmd("TIME");
        type Found = ((Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>, Option<u64>), Option<String>, (u64, u64));
        let ((proof, former, layout, vocabulary), data, (seconds, micros)): Found =
            ask.query_async(&mut connection).await.map_err(Trouble::greeted_with)?;
        let made = Instant::now();
        // Before anything of ours is written. What is there already is not written again: a Redis that refuses writes can be
        // read.
        let numbers = Numbers { layout, vocabulary };
        let unwritten = numbers.check(proof.is_some(), begins)?;
        prove(&mut connection, master, begins, (proof, former)).await?;
        if unwritten {
            layout::raise_vocabulary(&mut connection).await?;
        }
        let data = match data {
            Some(data) => data,
            None => name_data(&mut connection).await?,
        };
        let (run, time_ms) = (server.run(), seconds.saturating_mul(1000).saturating_add(micros / 1000));
        let (server_run, has_followed) = (run.clone(), server.has_followed());
        let run = format!("{run} {data}");
        let live =
            Self { connection, client, server: server_run, run, made, epochs, time_ms, began: None, has_followed };
        Ok((live, server))
    }

    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Trouble> {
        Ok(pipeline.query_async(&mut self.connection.clone()).await?)
    }

    pub fn tag(&self) -> Tag {
        Tag::of(&self.server)
    }

    /// The server has not run for so long yet.
    pub fn is_younger_than(&self, age: Duration) -> bool {
        self.began.is_some_and(|began| began.elapsed() < age)
    }

    /// The data set's random id: another one says that what was kept is gone.
    pub fn data(&self) -> &str {
        self.run.split_once(' ').map_or("", |(_, data)| data)
    }

    /// For a new run of sequences: later ones are higher, by Redis's own clock, and random in their last digits.
    pub fn fresh_epoch(&self) -> u64 {
        let epoch = (self.time_ms() << 12) | u64::from(rand::random::<u16>() >> 4);
        epoch.max(self.epochs.load(Ordering::Relaxed).saturating_add(1))
    }

    /// By Redis's own clock, nearly.
    pub fn time_ms(&self) -> u64 {
        self.time_ms + u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX >> 16)
    }
}
