use std::{collections::HashMap, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo};
use tokio::time::{Instant, timeout_at};

use super::{failure::Failure, unusable::UnusableServer};

/// A sentinel that is down must not delay the answer of the others.
const ASK_TIME_MAX: Duration = Duration::from_millis(500);
/// How long the others are waited for once most have answered.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(50);

/// The sentinels, which know the master. They are asked before each connection: a client that remembers the old master would
/// never find the new one.
#[derive(Clone)]
pub struct Sentinels {
    /// At least one.
    pub sentinels: Vec<Client>,
    pub service: String,
    /// How to connect to the master, without its address.
    pub master: ConnectionInfo,
}

/// The master by the view of one sentinel, and the failover that made it one. The newest of several answers counts.
struct Answer {
    host: String,
    port: u16,
    epoch: u64,
    /// The sentinels agree that it is down.
    down: bool,
}

impl Sentinels {
    /// The master by the view of the sentinels. The server itself is asked later whether it is one.
    pub async fn master(&self) -> Result<Client, Failure> {
        let mut asked: FuturesUnordered<_> = self.sentinels.iter().map(|sentinel| self.ask(sentinel)).collect();
        let (mut newest, mut failure): (Option<Answer>, _) = (None, None);
        let (mut answers, mut until) = (0, Instant::now() + ASK_TIME_MAX);
        while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
            match answer {
                Ok(answer) => {
                    answers += 1;
                    if answers == self.sentinels.len() / 2 + 1 {
                        until = until.min(Instant::now() + STRAGGLERS_TIME_MAX);
                    }
                    if newest.as_ref().is_none_or(|newest| newest.epoch < answer.epoch) {
                        newest = Some(answer);
                    }
                }
                Err(other) => failure = Some(other),
            }
        }
        let Some(Answer { host, port, down, .. }) = newest else {
            return Err(match failure {
                Some(Failure::UnusableServer(unusable)) => unusable.into(),
                _ => Failure::Away("no sentinel answers".to_owned()),
            });
        };
        if down {
            // Connections to it may hang for long. The sentinels will name another one.
            return Err(Failure::Away("the master is down".to_owned()));
        }
        let address = match self.master.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Ok(Client::open(self.master.clone().set_addr(address))?)
    }

    async fn ask(&self, sentinel: &Client) -> Result<Answer, Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ASK_TIME_MAX))
            .set_response_timeout(Some(ASK_TIME_MAX));
        let connection = sentinel.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(Failure::greeted_with)?;
        let mut ask = redis::cmd("SENTINEL");
        let address: Option<(String, u16)> = ask
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.service)
            .query_async(&mut connection)
            .await
            .map_err(Failure::greeted_with)?;
        let (host, port) = address.ok_or(UnusableServer::Service)?;
        let mut ask = redis::cmd("SENTINEL");
        let master: HashMap<String, String> = ask.arg("MASTER").arg(&self.service).query_async(&mut connection).await?;
        let field = |name: &str| master.get(name).map_or("", String::as_str);
        // During a failover the address may be that of the new master and the flags those of the old one.
        let is_it = field("ip") == host && field("port") == port.to_string();
        let down = is_it && field("flags").split(',').any(|flag| flag == "o_down");
        Ok(Answer { host, port, epoch: field("config-epoch").parse().unwrap_or(0), down })
    }
}
