use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Caps,
    arrival::Arrival,
    network::{Network, client, is_trusted},
};
use crate::{
    telemetry::{
        Episode, metrics,
        words::{CONNECTIONS, CONNECTIONS_PER_ADDRESS, CONNECTIONS_PER_TENANT, CONNECTIONS_WITHOUT_TOKEN, DESCRIPTORS},
    },
    tenant::TenantId,
};

/// How long an answer may take before its connection can be closed like an idle one. Without this, connections of clients
/// that never read their answers could not be closed for a minute.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a new connection waits until the one that is closed for it has ended.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(100);

/// All open connections. If there are too many, an idle one is closed for the new one, so that clients without a token
/// can take neither the descriptors of links and store nor the connections of users, and one tenant not those of others.
pub(super) struct Connections {
    caps: Caps,
    proxies: Vec<Network>,
    table: Mutex<Table>,
    full: [Episode; 4],
    refused: Episode,
    unaccepted: Episode,
}

#[derive(Default)]
struct Table {
    last: u64,
    /// Includes connections that are being closed.
    count: usize,
    without_token: usize,
    open: HashMap<u64, (Holder, Arc<Connection>)>,
    holders: HashMap<Holder, BTreeSet<u64>>,
}

/// The client that a connection counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Stranger(IpAddr),
    /// A proxy that has passed on no token on this connection yet.
    Proxy(IpAddr),
    Tenant(TenantId),
    /// A proxy that has passed on a token on this connection.
    TenantsOf(IpAddr),
}

impl Holder {
    /// The order in which connections are closed.
    fn rank(&self) -> u8 {
        match self {
            Self::Stranger(_) => 0,
            Self::Proxy(_) => 1,
            Self::Tenant(_) => 2,
            Self::TenantsOf(_) => 3,
        }
    }

    fn is_without_token(&self) -> bool {
        matches!(self, Self::Stranger(_) | Self::Proxy(_))
    }
}

#[derive(Clone, Copy)]
enum Cap {
    Connections,
    WithoutToken,
    PerAddress,
    PerTenant,
}

impl Cap {
    const ALL: [Self; 4] = [Self::Connections, Self::WithoutToken, Self::PerAddress, Self::PerTenant];

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::WithoutToken => "connections without a token",
            Self::PerAddress => "connections of an address without a token",
            Self::PerTenant => "connections of a tenant",
        }
    }

    /// As the metrics name it.
    fn word(self) -> &'static str {
        match self {
            Self::Connections => CONNECTIONS,
            Self::WithoutToken => CONNECTIONS_WITHOUT_TOKEN,
            Self::PerAddress => CONNECTIONS_PER_ADDRESS,
            Self::PerTenant => CONNECTIONS_PER_TENANT,
        }
    }
}

struct Connection {
    arrival: Arc<Arrival>,
    closing: CancellationToken,
    gone: CancellationToken,
}

impl Connection {
    /// No request is being answered, or one has been for too long.
    fn is_idle(&self, now: Instant) -> bool {
        self.arrival.is_idle(now, ANSWER_TIME_MAX)
    }
}

/// Counts an open connection; dropping it frees its slot.
pub(super) struct Admitted {
    visitor: Visitor,
    /// `None` once the slot belongs to a stream.
    held: Option<Held>,
}

/// The slot of an open stream: it counts, and is never closed for another. Small, since most connections that stay open
/// are streams.
pub(super) struct Held(Arc<Connections>);

/// The connection that a request came on.
#[derive(Clone)]
pub(super) struct Visitor {
    connections: Arc<Connections>,
    number: u64,
    connection: Arc<Connection>,
}

impl Connections {
    pub fn new(caps: Caps, proxies: Vec<Network>) -> Self {
        metrics().connections_max.set(caps.connections as f64);
        let (refused, unaccepted) = (Episode::default(), Episode::default());
        Self { caps, proxies, table: Mutex::default(), full: Default::default(), refused, unaccepted }
    }

    /// `None`: there are too many, and none that can be closed. For one caller at a time.
    pub async fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let proxy = is_trusted(address, &self.proxies);
        let address = client(address);
        let holder = if proxy { Holder::Proxy(address) } else { Holder::Stranger(address) };
        let reached = self.lock().reached(&holder, self.caps);
        if let Some(cap) = reached {
            if self.count_reached(cap) {
                let (limit, max) = (cap.name(), self.caps.max(cap));
                tracing::warn!(limit, max, %address, "connection limit reached, closing idle connections");
            }
            let closed = self.close_idle(|other| match cap {
                Cap::PerAddress | Cap::PerTenant => *other == holder,
                Cap::WithoutToken => other.is_without_token(),
                Cap::Connections => true,
            });
            if !closed.await {
                if self.refused.add() {
                    tracing::warn!(limit = cap.name(), "connections are refused, none of the open ones is idle");
                }
                return None;
            }
        }
        Some(self.add(holder))
    }

    /// The process is out of file descriptors: closes an idle connection. False: there is none.
    pub async fn make_room(&self, error: &io::Error) -> bool {
        metrics().limits.add(DESCRIPTORS);
        if self.unaccepted.add() {
            tracing::error!(%error, "no connection can be accepted for now, closing idle connections");
        }
        self.close_idle(|_| true).await
    }

    /// Counts that a limit is reached. True: for the first time in a while, which the log has a line for.
    fn count_reached(&self, cap: Cap) -> bool {
        metrics().limits.add(cap.word());
        self.full[cap as usize].add()
    }

    /// Closes an idle connection and waits until it has ended. False: there is none.
    async fn close_idle(&self, of: impl Fn(&Holder) -> bool) -> bool {
        let Some(chosen) = self.lock().take_idle(Instant::now(), of) else { return false };
        chosen.closing.cancel();
        // A connection that received a request meanwhile answers it first. Do not wait for that.
        let _ = timeout(CLOSE_TIME_MAX, chosen.gone.cancelled()).await;
        true
    }

    fn add(self: &Arc<Self>, holder: Holder) -> Admitted {
        let connection = Arc::new(Connection {
            arrival: Arc::new(Arrival::new()),
            closing: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        let mut table = self.lock();
        table.last += 1;
        table.count += 1;
        metrics().connections_open.set(table.count as f64);
        let number = table.last;
        table.insert(number, holder, connection.clone());
        let visitor = Visitor { connections: self.clone(), number, connection };
        Admitted { visitor, held: Some(Held(self.clone())) }
    }

    /// Writes a line for each limit that has not been reached for a while.
    pub fn report(&self) {
        for (cap, full) in Cap::ALL.into_iter().zip(&self.full) {
            if let Some(times) = full.over() {
                tracing::info!(limit = cap.name(), times, "connection limit no longer reached");
            }
        }
        if let Some(times) = self.refused.over() {
            tracing::info!(times, "connections are no longer refused");
        }
        if let Some(times) = self.unaccepted.over() {
            tracing::info!(times, "connections can be accepted again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caps {
    fn max(self, cap: Cap) -> usize {
        match cap {
            Cap::Connections => self.connections,
            Cap::WithoutToken => self.without_token,
            Cap::PerAddress => self.per_address,
            Cap::PerTenant => self.per_tenant,
        }
    }
}

impl Table {
    /// The cap that one more connection would exceed. The narrowest first: what is closed for it makes room for all.
    fn reached(&self, holder: &Holder, caps: Caps) -> Option<Cap> {
        if matches!(holder, Holder::Stranger(_)) && self.held_by(holder) >= caps.per_address {
            Some(Cap::PerAddress)
        } else if self.without_token >= caps.without_token {
            Some(Cap::WithoutToken)
        } else if self.count >= caps.connections {
            Some(Cap::Connections)
        } else {
            None
        }
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.holders.get(holder).map_or(0, BTreeSet::len)
    }

    /// Charges a connection to the tenant whose token came on it. False: the tenant had its share. Its oldest idle
    /// connection is closed then; if none is idle, this one stays charged to its address.
    fn charge(&mut self, number: u64, tenant: &TenantId, max: usize) -> bool {
        let holder = match self.open.get(&number) {
            Some((Holder::Stranger(_), _)) => Holder::Tenant(tenant.clone()),
            Some((Holder::Proxy(address), _)) => Holder::TenantsOf(*address),
            // `None`: it is being closed.
            Some((Holder::Tenant(_) | Holder::TenantsOf(_), _)) | None => return true,
        };
        let has_room = !matches!(holder, Holder::Tenant(_)) || self.held_by(&holder) < max;
        if !has_room {
            let Some(idle) = self.take_idle(Instant::now(), |other| *other == holder) else { return false };
            idle.closing.cancel();
        }
        if let Some((_, connection)) = self.take(number) {
            self.insert(number, holder, connection);
        }
        has_room
    }

    /// Takes out the connection to close: of the holders that are closed first the one with the most connections, and of
    /// its connections the oldest idle one. Without this, one client could close the connections of many others.
    fn take_idle(&mut self, now: Instant, of: impl Fn(&Holder) -> bool) -> Option<Arc<Connection>> {
        let candidates = self.holders.iter().filter(|(holder, _)| of(holder)).filter_map(|(holder, numbers)| {
            let oldest = numbers.iter().find(|number| self.open[number].1.is_idle(now))?;
            Some((Reverse(holder.rank()), numbers.len(), Reverse(*oldest)))
        });
        let (_, _, Reverse(number)) = candidates.max()?;
        self.take(number).map(|(_, connection)| connection)
    }

    fn insert(&mut self, number: u64, holder: Holder, connection: Arc<Connection>) {
        self.without_token += usize::from(holder.is_without_token());
        self.holders.entry(holder.clone()).or_default().insert(number);
        self.open.insert(number, (holder, connection));
    }

    fn take(&mut self, number: u64) -> Option<(Holder, Arc<Connection>)> {
        let (holder, connection) = self.open.remove(&number)?;
        self.without_token -= usize::from(holder.is_without_token());
        if let Some(numbers) = self.holders.get_mut(&holder) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.holders.remove(&holder);
            }
        }
        Some((holder, connection))
    }
}

impl Admitted {
    pub fn arrival(&self) -> Arc<Arrival> {
        self.visitor.connection.arrival.clone()
    }

    pub fn visitor(&self) -> Visitor {
        self.visitor.clone()
    }

    /// The slot without what only the HTTP server needs, once the connection is a stream.
    pub fn hold(mut self) -> Option<Held> {
        self.held.take()
    }

    /// Completes when this connection is to be closed. True: at once, false: after the answer under way. Cancel safe.
    pub async fn is_closed(&self) -> bool {
        let connection = &self.visitor.connection;
        connection.closing.cancelled().await;
        connection.is_idle(Instant::now())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.visitor.connections.lock().take(self.visitor.number);
        drop(self.held.take());
        self.visitor.connection.gone.cancel();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.count -= 1;
        metrics().connections_open.set(table.count as f64);
    }
}

impl Visitor {
    /// A valid token came with a request: from here on the connection is charged to its tenant, up to the tenant's share.
    /// Without the share, one tenant could hold all connections with commands whose bodies it does not send.
    pub fn has_shown_token(&self, tenant: &TenantId) {
        let all = &self.connections;
        let had_room = all.lock().charge(self.number, tenant, all.caps.per_tenant);
        if !had_room && all.count_reached(Cap::PerTenant) {
            let (limit, max) = (Cap::PerTenant.name(), all.caps.per_tenant);
            tracing::warn!(limit, max, %tenant, "connection limit of tenant reached, closing its idle connections");
        }
    }
}

#[cfg(test)]
mod tests;
