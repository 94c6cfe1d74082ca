//! A real Prometheus for each test, gone with it. It scrapes the program and evaluates the rules of `deploy/alerts.yml`.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tautan_test_support::Port;
use tempfile::TempDir;

/// Longer than the slowest alert takes: a webhook is late after a minute.
const ALERT_TIME_MAX: Duration = Duration::from_secs(150);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const QUIET_FOR: Duration = Duration::from_secs(4);

macro_rules! alerts {
    ($($name:ident)+) => {
        /// An alert of `deploy/alerts.yml`, without the word Tautan. Only a test that fires one names it.
        #[derive(Clone, Copy, Debug)]
        pub enum Alert { $($name),+ }

        impl Alert {
            pub const NAMES: &[&str] = &[$(concat!("Tautan", stringify!($name))),+];
        }
    };
}

alerts! {
    StoreAway
    HeartbeatLate
    RedisErrors
    ServerErrors
    StoreReadOnly
    StoreNotDelivering
    SessionsStuck
    FirstCodeSlow
    WebhooksLate
    LimitReached
    AuthenticationFails
    StreamsNearLimit
    PairingsFail
    LinksLost
    Down
    Takeovers
    Restarts
}

pub struct Prometheus {
    child: Child,
    base: String,
    _folder: TempDir,
}

/// Says so if they are missing, and fails the test in CI.
pub fn is_installed() -> bool {
    let runs = |program: &str| {
        let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let installed = runs("prometheus") && runs("promtool");
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "prometheus is not installed");
        println!("NOT RUN: prometheus is not installed");
    }
    installed
}

/// The rules that ship, with one change: each minute of a duration is a second.
pub fn shortened(rules: &str) -> String {
    let mut shortened = String::new();
    let mut rest = rules;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        let (begin, after) = rest.split_at(at + digits);
        shortened.push_str(begin);
        rest = after;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let stands_alone = !begin[..at].ends_with(is_word);
        if stands_alone && rest.strip_prefix('m').is_some_and(|rest| !rest.starts_with(is_word)) {
            shortened.push('s');
            rest = &rest[1..];
        }
    }
    shortened + rest
}

impl Prometheus {
    pub async fn start(rules: &str, targets: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let port = Port::reserve();
        let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs: [{{job_name: tautan, static_configs: [{{targets: [{targets}]}}]}}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).expect("a file");
        fs::write(folder.path().join("alerts.yml"), shortened(rules)).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let prometheus = Self { child, base: format!("http://127.0.0.1:{}", port.number), _folder: folder };
        let begun = Instant::now();
        while prometheus.get("/-/ready").await.is_none() {
            assert!(begun.elapsed() < ALERT_TIME_MAX, "it is not ready");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        prometheus
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = reqwest::get(format!("{}{path}", self.base)).await.ok()?.error_for_status().ok()?;
        answer.text().await.ok()
    }

    /// The names of the alerts that fire now.
    async fn firing(&self) -> BTreeSet<String> {
        let text = self.get("/api/v1/alerts").await.expect("it answers");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let alerts = answer["data"]["alerts"].as_array().expect("a list").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned()).collect()
    }

    /// Nothing fires for a while, during which the program is scraped.
    pub async fn is_quiet(&self) {
        let begun = Instant::now();
        while !self.has_scraped().await {
            assert!(begun.elapsed() < ALERT_TIME_MAX, "it scrapes nothing");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let begun = Instant::now();
        while begun.elapsed() < QUIET_FOR {
            assert_eq!(self.firing().await, BTreeSet::new());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn has_scraped(&self) -> bool {
        let answer = self.get("/api/v1/query?query=sum(tautan_build_info)").await.expect("it answers");
        answer.contains("\"value\"")
    }

    /// Each of these alerts has fired at least once.
    pub async fn until_fired(&self, alerts: &[Alert]) {
        let (begun, mut seen) = (Instant::now(), BTreeSet::new());
        while !alerts.iter().all(|alert| seen.contains(&format!("Tautan{alert:?}"))) {
            assert!(begun.elapsed() < ALERT_TIME_MAX, "{alerts:?} did not fire, but {seen:?}");
            tokio::time::sleep(LOOK_EVERY).await;
            seen.extend(self.firing().await);
        }
    }

    /// None fires any more.
    pub async fn until_quiet(&self) {
        let begun = Instant::now();
        loop {
            let firing = self.firing().await;
            if firing.is_empty() {
                return;
            }
            assert!(begun.elapsed() < ALERT_TIME_MAX, "{firing:?} still fire");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
