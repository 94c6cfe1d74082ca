use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Pipeline,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{sync::Mutex, time::timeout};

use super::{keys, script::Call, trouble::Trouble, url::Url};

/// Longer than any command of ours needs, short beside the 6 s after which an owner gives up.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// After a failure callers are answered at once for so long, or each of them would wait for its own.
const FAIL_FAST: Duration = Duration::from_millis(200);
/// Tries of a numbered call, which a repetition does not run twice.
const TRIES: usize = 3;

/// The way to Redis: one connection for all commands, made anew when it broke, never given up.
pub struct Connections {
    url: Url,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    live: Option<Arc<Live>>,
    failed: Option<(Instant, String)>,
}

/// One connection, and what is true of the server at its other end for as long as it lasts.
pub struct Live {
    connection: MultiplexedConnection,
    /// The run of the server and its data set. Another run may have lost the last second's writes, so sequences begin a
    /// new epoch with it.
    pub run: String,
    made: Instant,
    /// The server's clock when it was made.
    time_ms: u64,
}

impl Connections {
    pub fn new(url: Url) -> Self {
        Self { url, current: Mutex::default() }
    }

    pub async fn live(&self) -> Result<Arc<Live>, Trouble> {
        let mut current = self.current.lock().await;
        if let Some(live) = &current.live {
            return Ok(live.clone());
        }
        if let Some((at, why)) = current.failed.as_ref().filter(|(at, _)| at.elapsed() < FAIL_FAST) {
            tracing::trace!(ago = ?at.elapsed(), "redis was away just now");
            return Err(Trouble::Away(why.clone()));
        }
        let made = timeout(CONNECT_TIME_MAX, Live::connect(self.url.client())).await;
        match made.map_err(|_| Trouble::Slow(CONNECT_TIME_MAX)).and_then(|made| made) {
            Ok(live) => {
                let live = Arc::new(live);
                *current = Current { live: Some(live.clone()), failed: None };
                Ok(live)
            }
            Err(trouble) => {
                current.failed = Some((Instant::now(), trouble.to_string()));
                Err(trouble)
            }
        }
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

    pub async fn pubsub(&self) -> Result<PubSub, Trouble> {
        let made = timeout(CONNECT_TIME_MAX, self.url.client().get_async_pubsub()).await;
        Ok(made.map_err(|_| Trouble::Slow(CONNECT_TIME_MAX))??)
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

impl Live {
    async fn connect(client: &Client) -> Result<Self, Trouble> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("server").cmd("TIME");
        pipeline.cmd("SET").arg(keys::DATA).arg(format!("{:032x}", rand::random::<u128>())).arg("NX").ignore();
        pipeline.cmd("GET").arg(keys::DATA);
        let (info, (seconds, micros), data): (String, (u64, u64), String) =
            pipeline.query_async(&mut connection).await?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim();
        let time_ms = seconds * 1000 + micros / 1000;
        Ok(Self { connection, run: format!("{run} {data}"), made: Instant::now(), time_ms })
    }

    async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Trouble> {
        Ok(pipeline.query_async(&mut self.connection.clone()).await?)
    }

    /// The data set's random id: another one says that what was kept is gone.
    pub fn data(&self) -> &str {
        self.run.split_once(' ').map_or("", |(_, data)| data)
    }

    /// For a new run of sequences: later ones are higher, by Redis's own clock, and random in their last digits.
    pub fn fresh_epoch(&self) -> u64 {
        let elapsed = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX >> 16);
        ((self.time_ms + elapsed) << 12) | u64::from(rand::random::<u16>() >> 4)
    }
}
