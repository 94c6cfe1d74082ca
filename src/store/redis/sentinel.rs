use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo};
use tokio::time::timeout;

use super::{trouble::Trouble, unfit::Unfit};

/// A sentinel that is down must not hold up the others' answer.
const ASK_TIME_MAX: Duration = Duration::from_millis(500);

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
}

impl Sentinels {
    /// Whoever they hold to be the master. Whether it is one, it says itself.
    pub async fn master(&self) -> Result<Client, Trouble> {
        let asked = self.sentinels.iter().map(|sentinel| async move {
            let answer = timeout(ASK_TIME_MAX, self.ask(sentinel)).await;
            answer.unwrap_or(Err(Trouble::Slow(ASK_TIME_MAX)))
        });
        let (mut newest, mut trouble): (Option<Answer>, _) = (None, None);
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) if newest.as_ref().is_none_or(|newest| newest.epoch < answer.epoch) => newest = Some(answer),
                Ok(_) => {}
                Err(told) => trouble = Some(told),
            }
        }
        let Some(Answer { host, port, .. }) = newest else {
            return Err(match trouble {
                Some(Trouble::Unfit(unfit)) => unfit.into(),
                _ => Trouble::Away("no sentinel answers".to_owned()),
            });
        };
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
        let (host, port) = address.ok_or(Unfit::Service)?;
        let mut ask = redis::cmd("SENTINEL");
        let master: HashMap<String, String> = ask.arg("MASTER").arg(&self.service).query_async(&mut connection).await?;
        let epoch = master.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok(Answer { host, port, epoch })
    }
}
