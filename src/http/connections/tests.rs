use super::*;

const CAPS: Caps = Caps { connections: 8, without_token: 6, per_address: 3, per_tenant: 4, streams: 8 };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// A connection that closes when the table asks it to, as the server's does.
struct Open {
    admitted: Option<Admitted>,
    connection: Arc<Connection>,
}

impl Open {
    fn is_closed(&mut self) -> bool {
        let closed = self.connection.closing.is_cancelled();
        if closed {
            self.admitted = None;
        }
        closed
    }

    fn answers(&self) {
        self.connection.arrival.begin();
    }

    fn shows_token(&self, tenant: &TenantId) {
        self.admitted.as_ref().unwrap().visitor().has_shown_token(tenant);
    }
}

async fn open(connections: &Arc<Connections>, address: &str) -> Option<Open> {
    let admitted = connections.admit(ip(address)).await?;
    let connection = admitted.visitor.connection.clone();
    Some(Open { admitted: Some(admitted), connection })
}

async fn opened(connections: &Arc<Connections>, addresses: &[&str]) -> Vec<Open> {
    let mut all = Vec::new();
    for address in addresses {
        all.push(open(connections, address).await.unwrap());
    }
    all
}

fn closed(all: &mut [Open]) -> Vec<usize> {
    (0..all.len()).filter(|at| all[*at].is_closed()).collect()
}

fn connections() -> Arc<Connections> {
    Arc::new(Connections::new(CAPS, vec![Network::parse("10.0.0.0/8").unwrap()]))
}

#[tokio::test(start_paused = true)]
async fn address_at_its_cap_loses_its_oldest_idle_connection() {
    let connections = connections();
    let mut all = opened(&connections, &["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"]).await;
    all[1].answers();
    let _new = open(&connections, "192.0.2.2").await.unwrap();
    assert_eq!(closed(&mut all), [2], "the first of the address answers, and the other address is not touched");
}

#[tokio::test(start_paused = true)]
async fn proxy_has_no_cap_of_its_own() {
    for proxy in ["10.1.1.1", "127.0.0.1", "::1"] {
        let mut all = opened(&connections(), &[proxy; CAPS.per_address + 1]).await;
        assert_eq!(closed(&mut all), [0; 0], "{proxy}");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_of_the_holder_with_most_is_closed_first() {
    let connections = connections();
    let mut all =
        opened(&connections, &["10.1.1.1", "10.1.1.1", "10.1.1.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"]).await;
    all.extend(opened(&connections, &["192.0.2.3"]).await);
    assert_eq!(closed(&mut all), [4], "strangers before proxies, and of them who holds most");
    all.extend(opened(&connections, &["10.1.1.1"]).await);
    assert_eq!(closed(&mut all), [3, 4], "then the oldest");
    all.iter().skip(5).for_each(Open::answers);
    all.extend(opened(&connections, &["192.0.2.4"]).await);
    assert_eq!(closed(&mut all), [0, 3, 4], "a proxy's, since no stranger's is idle");
}

#[tokio::test(start_paused = true)]
async fn connection_is_refused_when_all_are_answered() {
    let connections = connections();
    let addresses = ["10.1.1.1", "10.1.1.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"];
    let mut all = opened(&connections, &addresses).await;
    all.iter().for_each(Open::answers);
    assert!(open(&connections, "192.0.2.3").await.is_none());
    tokio::time::advance(ANSWER_TIME_MAX).await;
    assert!(open(&connections, "192.0.2.3").await.is_some(), "an answer without a token that takes long is cut");
    assert_eq!(closed(&mut all), [2]);
}

#[tokio::test(start_paused = true)]
async fn connection_with_a_token_is_closed_last() {
    let connections = connections();
    let mut all = Vec::new();
    for _ in 0..4 {
        all.extend(opened(&connections, &["192.0.2.1", "10.1.1.1"]).await);
        all[all.len() - 2].shows_token(&tenant("a"));
        all[all.len() - 1].shows_token(&tenant("b"));
    }
    assert_eq!(closed(&mut all), [0; 0], "they do not count as connections without a token");
    all.extend(opened(&connections, &["192.0.2.2"]).await);
    assert_eq!(closed(&mut all), [0], "the oldest idle one of a tenant, before a proxy's");
    all.extend(opened(&connections, &["192.0.2.2"]).await);
    assert_eq!(closed(&mut all), [0, 8], "one without a token goes before those with one");
}

/// Connections that two tenants opened without a proxy: as many as there is room for.
async fn of_two_tenants(connections: &Arc<Connections>) -> Vec<Open> {
    let mut all = Vec::new();
    for number in 0..CAPS.connections {
        all.extend(opened(connections, &["192.0.2.1"]).await);
        all[number].shows_token(&tenant(["a", "b"][number % 2]));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn unread_answer_with_a_token_is_cut_for_a_newcomer() {
    let connections = connections();
    let mut all = of_two_tenants(&connections).await;
    all.iter().for_each(Open::answers);
    tokio::time::advance(ANSWER_TIME_MAX / 2).await;
    assert!(open(&connections, "192.0.2.2").await.is_none());
    tokio::time::advance(ANSWER_TIME_MAX / 2).await;
    assert!(open(&connections, "192.0.2.2").await.is_some());
    assert_eq!(closed(&mut all), [0]);
}

#[tokio::test(start_paused = true)]
async fn stream_is_never_closed_for_a_newcomer() {
    let connections = connections();
    let mut all = of_two_tenants(&connections).await;
    let streams: Vec<_> = all.iter_mut().filter_map(|one| one.admitted.take()?.hold()).collect();
    tokio::time::advance(ANSWER_TIME_MAX * 100).await;
    assert!(open(&connections, "192.0.2.2").await.is_none());
    assert_eq!((closed(&mut all), streams.len()), (vec![], CAPS.connections));
}

#[tokio::test(start_paused = true)]
async fn tenant_at_its_share_loses_its_oldest_idle_connection() {
    let (connections, a) = (connections(), tenant("a"));
    let mut all = Vec::new();
    for number in 0..=CAPS.per_tenant {
        all.extend(opened(&connections, &["192.0.2.1"]).await);
        all[number].answers();
        all[number].shows_token(&a);
    }
    assert_eq!(closed(&mut all), [0; 0], "none is idle");
    assert_eq!(connections.lock().without_token, 1, "the one beyond the share counts for its address");
    all[2].admitted.as_ref().unwrap().arrival().end();
    all[4].shows_token(&a);
    assert_eq!((closed(&mut all), connections.lock().without_token), (vec![2], 0));
}

#[tokio::test(start_paused = true)]
async fn tenant_has_no_share_behind_a_proxy() {
    let connections = connections();
    let mut all = opened(&connections, &["10.1.1.1"; CAPS.per_tenant + 1]).await;
    all.iter().for_each(|one| one.shows_token(&tenant("a")));
    assert_eq!((closed(&mut all), connections.lock().without_token), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn slot_is_freed_when_a_connection_ends() {
    let connections = connections();
    for number in 0..50 {
        let all = opened(&connections, &["192.0.2.1", "192.0.2.1", "10.1.1.1"]).await;
        all[0].shows_token(&tenant(&number.to_string()));
    }
    let table = connections.lock();
    assert_eq!((table.count, table.without_token), (0, 0));
    assert!(table.open.is_empty() && table.holders.is_empty());
}
