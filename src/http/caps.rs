/// How many connections and streams this instance has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Open connections of any kind.
    pub connections: usize,
    /// Connections that have not yet shown a valid token.
    pub without_token: usize,
    /// Likewise, of one address.
    pub per_address: usize,
    /// Connections that have shown a token of one tenant. Streams and connections of proxies do not count.
    pub per_tenant: usize,
    /// Open streams of all tenants.
    pub streams: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 4_096, without_token: 2_048, per_address: 128, per_tenant: 256, streams: 2_048 }
    }
}

/// The configured limits. `None`: the limit follows from the machine's resources.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfiguredCaps {
    /// Open connections of any kind.
    pub connections: Option<usize>,
    /// Connections that have not yet shown a valid token.
    pub without_token: Option<usize>,
    /// Connections of one address that have not yet shown a valid token.
    pub per_address: Option<usize>,
    /// Connections of one tenant, without its streams.
    pub per_tenant: Option<usize>,
    /// Open streams of all tenants.
    pub streams: Option<usize>,
}
