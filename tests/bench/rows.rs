//! The rows of the table. Each starts its servers anew, and measures Tautan and the peers one after the other.

use serde_json::Value;
use tautan_test_support::{Binary, Program, RedisServer, Settings};

use crate::{
    load::run,
    peers::{Peer, floor},
    table::{Table, value},
};

const PEERS: [Peer; 2] = [Peer::Nchan, Peer::Node];
const FANOUT: usize = 1000;
/// Of 20,000 descriptors nchan needs some hundred for itself.
const PEER_STREAMS_MAX: usize = 18_000;
/// Of an instance that holds thousands of streams.
const LIMITS: [(&str, &str); 6] = [
    ("TAUTAN_MAX_SESSIONS", "16"),
    ("TAUTAN_MAX_CONNECTIONS", "19850"),
    ("TAUTAN_MAX_CONNECTIONS_WITHOUT_TOKEN", "600"),
    ("TAUTAN_MAX_CONNECTIONS_PER_ADDRESS", "600"),
    ("TAUTAN_MAX_STREAMS", "19250"),
    ("TAUTAN_MAX_STREAMS_PER_TENANT", "1100"),
];
/// Leads nowhere: no link is opened.
const NO_WHATSAPP: &str = "ws://127.0.0.1:9/ws";

pub struct Tautan {
    pub program: Program,
    _folder: tempfile::TempDir,
}

/// `tick_ms`: the pace of the links of tenants called `ticking-…`.
pub fn tautan(redis: Option<&RedisServer>, tick_ms: u64, more: &[(&str, &str)]) -> Tautan {
    let folder = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::new(folder.path(), NO_WHATSAPP).binary(Binary::SimRelease);
    for (name, set) in LIMITS.iter().chain(more) {
        settings = settings.with(name, set);
    }
    settings = settings
        .with("SIM_STUBS", folder.path().to_str().expect("a plain name"))
        .with("SIM_TICK", &tick_ms.to_string());
    if let Some(redis) = redis {
        settings = settings.with("REDIS_URL", &redis.url()).with("TAUTAN_ENCRYPTION_KEY", KEY);
    }
    Tautan { program: settings.start(), _folder: folder }
}

pub const KEY: &str = "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq80=";

fn hold(base: &str, path: &str, pid: u32, streams: usize, seconds: u64) -> Value {
    run(&format!("hold --url {base} --path {path} --streams {streams} --seconds {seconds} --pid it={pid}"))
}

/// Idle streams: memory, opens, and CPU with heartbeats.
pub fn idle(table: &mut Table, streams: usize, seconds: u64) {
    let path = "/api/whatsapp/events";
    let embedded = {
        let it = tautan(None, 1000, &[]);
        hold(it.program.base(), path, it.program.pid(), streams, seconds)
    };
    let redis = RedisServer::start();
    let over_redis = {
        let it = tautan(Some(&redis), 1000, &[]);
        hold(it.program.base(), path, it.program.pid(), streams, seconds)
    };
    let peers: Vec<_> = PEERS
        .iter()
        .filter_map(|peer| {
            let server = peer.start()?;
            let streams = streams.min(PEER_STREAMS_MAX);
            Some((peer.name(), hold(&server.base(), peer.path(), server.pid(), streams, seconds)))
        })
        .collect();
    let (rate, bytes) = (value(&embedded, "idle_events_per_second"), value(&embedded, "idle_bytes_per_event"));
    let every_ms = (streams as f64 / rate * 1000.0) as u64;
    let bare = floor(streams, bytes as u64, every_ms, 7, 120);
    let bare = hold(&bare.base(), path, bare.pid(), streams, seconds);

    let of = |name: &str, digits: usize, divided_by: f64| {
        let number = |report: &Value| format!("{:.digits$}", value(report, name) / divided_by);
        let ours = format!("{} embedded, {} Redis", number(&embedded), number(&over_redis));
        let theirs: Vec<_> = peers.iter().map(|(name, report)| format!("{name} {}", number(report))).collect();
        (ours, theirs.join(", "), number(&bare))
    };
    let (ours, theirs, _) = of("it_bytes_per_stream", 0, 1.0);
    table.row(&format!("idle stream, bytes of RSS at {streams}"), ours, theirs, "2,500");
    let (ours, theirs, bare) = of("it_opens_per_cpu_second", 0, 1.0);
    table.row(&format!("opens per CPU second, {streams}"), ours, format!("{theirs}, bare accept {bare}"), "20,000");
    let (ours, theirs, bare) = of("it_idle_cpu_percent", 2, 1.0);
    let work = format!("CPU % of {streams} idle streams, heartbeat 15 s");
    table.row(&work, ours, format!("bare send {bare}, {theirs}"), "1.5 × bare send");
}

/// One tenant's events to a thousand readers, with the default log.
pub fn fan_out(table: &mut Table, seconds: u64) {
    let listen = |base: &str, path: &str, pid: u32, more: &str| {
        run(&format!(
            "listen --url {base} --path {path} --streams {FANOUT} --tenants 1 --tenant ticking-{{n}} \
             --seconds {seconds} --pid it={pid}{more}"
        ))
    };
    let path = "/api/whatsapp/events";
    let ours = {
        let it = tautan(None, 100, &[]);
        connect(it.program.base());
        listen(it.program.base(), path, it.program.pid(), "")
    };
    let bytes = value(&ours, "bytes_per_delivery") as u64;
    let bare = floor(FANOUT, bytes, 100, 1, seconds + 60);
    let bare = listen(&bare.base(), path, bare.pid(), "");
    let body = bytes.saturating_sub(35);
    let peers = PEERS.iter().filter_map(|peer| {
        let server = peer.start()?;
        let more = format!(" --rate 10 --bytes {body}");
        Some((peer.name(), listen(&server.base(), peer.path(), server.pid(), &more)))
    });
    let cpu = |report: &Value| format!("{:.2}", value(report, "it_cpu_s_per_100k_deliveries"));
    let theirs: Vec<_> = peers.map(|(name, report)| format!("{name} {}", cpu(&report))).collect();
    let ratio = value(&ours, "it_cpu_s_per_100k_deliveries") / value(&bare, "it_cpu_s_per_100k_deliveries");
    table.row(
        "fan-out to 1,000: CPU s per 100k deliveries",
        format!("{} ({ratio:.2} × bare send)", cpu(&ours)),
        format!("bare send {}, {}", cpu(&bare), theirs.join(", ")),
        "1.35 × bare send, below nchan",
    );
}

/// A hundred readers that never read beside fifty that do.
pub fn stalled(table: &mut Table, seconds: u64) {
    let stall = |base: &str, path: &str, pid: u32, more: &str| {
        run(&format!(
            "stall --url {base} --path {path} --streams 50 --stalled 100 --tenants 1 --tenant ticking-{{n}} \
             --seconds {seconds} --pid it={pid}{more}"
        ))
    };
    let ours = {
        let it = tautan(None, 10, &[]);
        connect(it.program.base());
        stall(it.program.base(), "/api/whatsapp/events", it.program.pid(), "")
    };
    let peers = PEERS.iter().filter_map(|peer| {
        let server = peer.start()?;
        Some((peer.name(), stall(&server.base(), peer.path(), server.pid(), " --rate 100 --bytes 300")))
    });
    let text = |report: &Value| {
        let mib = (value(report, "rss_growth_bytes") + value(report, "socket_bytes_most")) / f64::from(1 << 20);
        let cut =
            report["all_cut_after_s"].as_u64().map_or("never cut".to_owned(), |after| format!("cut after {after} s"));
        format!("{cut}, {mib:.1} MiB, readers' p99 {:.1} ms", value(report, "delivery_p99_ms"))
    };
    let theirs: Vec<_> = peers.map(|(name, report)| format!("{name}: {}", text(&report))).collect();
    table.row("100 never-readers among 50", text(&ours), theirs.join("; "), "30 s, 10 MB, 5 ms");
}

/// Starts the link of `ticking-0`.
fn connect(base: &str) {
    run(&format!("connect --url {base} --tenants 1 --tenant ticking-{{n}}"));
}
