use std::{fmt, time::Duration};

use redis::{
    Client, IntoConnectionInfo as _,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

/// Where Redis is. Hides itself in `Debug`: it may hold a password.
#[derive(Clone)]
pub struct Url(Box<Client>);

#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("is not a Redis URL (redis://[user:password@]host[:port][/database], or rediss:// for TLS)")]
    Form,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let info = text.into_connection_info().map_err(|_| UrlError::Form)?;
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
        let tcp =
            TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_secs(5));
        Client::open(info.set_tcp_settings(tcp)).map(|client| Self(Box::new(client))).map_err(|_| UrlError::Form)
    }

    pub(super) fn client(&self) -> &Client {
        &self.0
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redis::Url(…)")
    }
}
