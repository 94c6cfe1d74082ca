use std::time::Duration;

/// How long sessions wait. Production uses the defaults; tests shorten them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Windows of WhatsApp's codes (160 s each) that are opened in all while a stream is open.
    pub qr_windows: u32,
    /// Sessions this instance will own; `None`: as many as come.
    pub sessions_max: Option<usize>,
    /// Links opened per second after a start or a takeover.
    pub resume_rate: u32,
    /// How long a link may take to start, resume or reconnect before the page shows that WhatsApp is unreachable.
    pub unreachable_after: Duration,
    /// How long a pairing before the scan may be without a code until it ends.
    pub pairing_without_code_max: Duration,
    /// How long the login after a scan may take before the link is opened anew.
    pub login_after_scan_max: Duration,
    /// How long the account's owner has to show a passkey.
    pub passkey_max: Duration,
    /// How long after its end a code may stand without a successor before the link is opened anew.
    pub code_overdue_max: Duration,
    /// Pause after the first login that WhatsApp refused because there were too many; each further one doubles it.
    pub throttled_pause: Duration,
    /// Pause before the one redial after WhatsApp said that we were replaced.
    pub replaced_pause: Duration,
    /// Crashes of one session within [`Self::crash_window`] that are answered by another try.
    pub crashes_max: usize,
    /// The time in which crashes are counted together.
    pub crash_window: Duration,
    /// How often orphaned tenants are listed.
    pub sweep_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            qr_windows: 3,
            sessions_max: None,
            resume_rate: 20,
            unreachable_after: Duration::from_secs(20),
            pairing_without_code_max: Duration::from_secs(300),
            login_after_scan_max: Duration::from_secs(60),
            passkey_max: Duration::from_secs(180),
            code_overdue_max: Duration::from_secs(5),
            throttled_pause: Duration::from_secs(5),
            replaced_pause: Duration::from_secs(8),
            crashes_max: 3,
            crash_window: Duration::from_secs(600),
            sweep_every: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The same settings with every wait for WhatsApp or the user multiplied.
    pub fn with_patience(self, times: f32) -> Self {
        let scaled = |wait: Duration| wait.mul_f32(times);
        Self {
            unreachable_after: scaled(self.unreachable_after),
            pairing_without_code_max: scaled(self.pairing_without_code_max),
            login_after_scan_max: scaled(self.login_after_scan_max),
            passkey_max: scaled(self.passkey_max),
            code_overdue_max: scaled(self.code_overdue_max),
            throttled_pause: scaled(self.throttled_pause),
            ..self
        }
    }
}
