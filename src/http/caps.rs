/// How many connections and streams this instance has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub connections: usize,
    /// Connections that have not yet shown a valid token.
    pub without_token: usize,
    /// Likewise, of one address.
    pub per_address: usize,
    pub streams: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 4_096, without_token: 2_048, per_address: 128, streams: 2_048 }
    }
}

/// What was set of them. What was not follows from the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfiguredCaps {
    pub connections: Option<usize>,
    pub without_token: Option<usize>,
    pub per_address: Option<usize>,
    pub streams: Option<usize>,
}
