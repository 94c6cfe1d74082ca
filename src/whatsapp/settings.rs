use std::{fmt, sync::Arc, time::Duration};

use crate::{link_options::DeviceName, proxy::Proxies};

/// Called before each frame that leaves, with its number within the link, counting from 1. Tests stop the process here.
pub type OutgoingFrame = Arc<dyn Fn(u64) + Send + Sync>;

/// How links connect to WhatsApp.
#[derive(Clone)]
pub struct Settings {
    /// `TAUTAN_WHATSAPP_URL`.
    pub url: String,
    /// `TAUTAN_WHATSAPP_VERSION`. `None`: it is looked up where WhatsApp publishes it, or, with a simulator on
    /// loopback, only at the simulator.
    pub version: Option<(u32, u32, u32)>,
    /// `TAUTAN_DEVICE_NAME`: how the phone's list of linked devices names links whose token has no name for them.
    pub device_name: DeviceName,
    /// `TAUTAN_WHATSAPP_PROXY` and `TAUTAN_WHATSAPP_PROXIES_FILE`.
    pub proxies: Proxies,
    /// One-time keys offered to peers. The library's default of 812 suits accounts that many strangers write to; each
    /// costs memory and a row.
    pub prekeys: usize,
    /// How long one saving may take before it counts as failed.
    pub flush_deadline: Duration,
    /// How long an unlink may wait for WhatsApp's answer.
    pub unlink_deadline: Duration,
    /// How long closing a link may take before its tasks are aborted.
    pub close_deadline: Duration,
    /// Scales the lifetime of QR codes, which the library has hard-coded to a window of 160 s. Does not change other
    /// sleeps. For tests; 1 in production.
    pub qr_pace: f32,
    /// A hook for tests, called for each frame that is sent.
    pub outgoing_frame: Option<OutgoingFrame>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "wss://web.whatsapp.com/ws/chat".to_owned(),
            version: None,
            device_name: DeviceName::parse("Tautan").expect("it is short and plain"),
            proxies: Proxies::default(),
            prekeys: 30,
            flush_deadline: Duration::from_secs(5),
            unlink_deadline: Duration::from_secs(10),
            close_deadline: Duration::from_secs(5),
            qr_pace: 1.0,
            outgoing_frame: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).field("version", &self.version).finish_non_exhaustive()
    }
}
