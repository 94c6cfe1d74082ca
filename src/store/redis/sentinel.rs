use std::{collections::HashMap, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo};
use tokio::time::{Instant, timeout_at};

use super::{trouble::Trouble, unfit::UnusableServer};

/// A sentinel that is down must not hold up the others' answer.
const ASK_TIME_MAX: Duration = Duration::from_millis(500);
/// Once most have answered, the others are waited for no longer than this.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(50);

/// Knows who knows the master. Asked before each connection and never remembered: a client that stays with the master of
/// before is one that starves.
#[derive(Clone)]
pub struct Sentinels {
    /// Not empty.
    pub sentinels: Vec<Client>,
    pub service: String,
    /// How to connect to the master, but for its address.
    pub master: ConnectionInfo,
}

/// What one sentinel holds to be the master, and since which failover: of several answers the newest one counts.
struct Answer {
    host: String,
    port: u16,
    epoch: u64,
    /// The sentinels agree that it is down.
    down: bool,
}

impl Sentinels {
    /// Whoever they hold to be the master. Whether it is one, it says itself.
    pub async fn master(&self) -> Result<Client, Trouble> {
        let mut asked: FuturesUnordered<_> = self.sentinels.iter().map(|sentinel| self.ask(sentinel)).collect();
        let (mut newest, mut trouble): (Option<Answer>, _) = (None, None);
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
                Err(told) => trouble = Some(told),
            }
        }
        let Some(Answer { host, port, down, .. }) = newest else {
            return Err(match trouble {
                Some(Trouble::UnusableServer(unfit)) => unfit.into(),
                _ => Trouble::Away("no sentinel answers".to_owned()),
            });
        };
        if down {
            // Its connections may hang for long; the next answer is another one.
            return Err(Trouble::Away("the master is down".to_owned()));
        }
        let address = match self.master.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Ok(Client::open(self.master.clone().set_addr(address))?)
    }

    async fn ask(&self, sentinel: &Client) -> Result<Answer, Trouble> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ASK_TIME_MAX))
            .set_response_timeout(Some(ASK_TIME_MAX));
        let connection = sentinel.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(Trouble::greeted_with)?;
        let mut ask = redis::cmd("SENTINEL");
        let address: Option<(String, u16)> = ask
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.service)
            .query_async(&mut connection)
            .await
            .map_err(Trouble::greeted_with)?;
        let (host, port) = address.ok_or(UnusableServer::Service)?;
        let mut ask = redis::cmd("SENTINEL");
        let master: HashMap<String, String> = ask.arg("MASTER").arg(&self.service).query_async(&mut connection).await?;
        let field = |name: &str| master.get(name).map_or("", String::as_str);
        // While they exchange it, the address is the next one's already and the flags are still the old one's.
        let is_it = field("ip") == host && field("port") == port.to_string();
        let down = is_it && field("flags").split(',').any(|flag| flag == "o_down");
        Ok(Answer { host, port, epoch: field("config-epoch").parse().unwrap_or(0), down })
    }
}
