//! The program itself, built without WhatsApp's certificate check so that it can talk to the simulator: what tests,
//! benches and rehearsals run as a process of its own. Refuses every WhatsApp URL that is not a loopback address.
//!
//! `SIM_KILL=commit-before:7` ends the process, as `kill -9` would, right before its seventh commit to the store;
//! `commit-after:7` right after it, before anybody is told; `frame:7` right before the seventh frame to WhatsApp.
//! `SIM_QR_PACE=0.05` makes QR codes live a twentieth of their time.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};
use tautan::{
    app::{self, Seams},
    store::embedded::CommitPoint,
};

fn main() -> ExitCode {
    eprintln!(
        "tautan-sim: built without WhatsApp's certificate check; talks to a simulator on loopback and to nothing else"
    );
    let mut seams = Seams { qr_pace: read("SIM_QR_PACE"), ..Seams::default() };
    if let Ok(kill) = std::env::var("SIM_KILL") {
        let (place, number) = kill.split_once(':').expect("SIM_KILL is PLACE:NUMBER");
        let countdown = Countdown::from(number.parse().expect("SIM_KILL ends in a number"));
        match place {
            "commit-before" => seams.on_commit = Some(commit_hook(CommitPoint::Before, countdown)),
            "commit-after" => seams.on_commit = Some(commit_hook(CommitPoint::After, countdown)),
            "frame" => seams.outgoing_frame = Some(Arc::new(move |_| countdown.tick())),
            _ => panic!("SIM_KILL knows commit-before, commit-after and frame"),
        }
    }
    app::run(seams)
}

fn read<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|value| value.parse().ok().unwrap_or_else(|| panic!("{name} is not a number")))
}

fn commit_hook(at: CommitPoint, countdown: Countdown) -> Arc<dyn Fn(CommitPoint) + Send + Sync> {
    Arc::new(move |point| {
        if point == at {
            countdown.tick();
        }
    })
}

struct Countdown(AtomicU64);

impl Countdown {
    fn from(ticks: u64) -> Self {
        Self(AtomicU64::new(ticks))
    }

    fn tick(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            kill_process(getpid(), Signal::KILL).expect("a process may end itself");
        }
    }
}
