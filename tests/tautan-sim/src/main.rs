//! A test program, not an example for users and not for production: the whole service, built without WhatsApp's
//! certificate check so that it can talk to the simulator. Tests and benches run it as a process of its own. It refuses
//! every WhatsApp URL that is not a loopback address. `Cargo.toml` says why cargo calls it an example.
//!
//! `SIM_KILL=commit-before:7` ends the process, as `kill -9` would, right before its seventh commit to the store;
//! `commit-after:7` right after it, before it is published; `frame:7` right before the seventh frame to WhatsApp.
//! `SIM_COMMIT_PAUSE=100` is a slow disk: each commit, and a death before it, waits so many milliseconds first.
//! `SIM_COMMIT_HANG=FILE` is a disk that hangs: each commit waits for as long as the file exists.
//! `SIM_QR_PACE=0.05` makes QR codes live a twentieth of their time.
//! `SIM_PATIENCE=0.02` makes sessions wait for WhatsApp and the user a fiftieth as long before they say or end something.
//! `SIM_STUBS=FOLDER` gives tenants whose names begin with `idle-`, `chatty-`, `ticking-` or `panic-` links that lead
//! nowhere (see `stubs` and `ticking`; `SIM_TICK=100` is the pace of the ticking ones in milliseconds); a file `bad-stanza` in the folder is taken away by the first frame that a real link sends, which panics.

mod stubs;
mod ticking;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};
use tautan::{
    app::{self, Seams},
    store::embedded::{CommitHook, CommitPoint},
};

fn main() -> ExitCode {
    eprintln!(
        "tautan-sim: built without WhatsApp's certificate check; talks to a simulator on loopback and to nothing else"
    );
    let mut seams = Seams { qr_pace: read("SIM_QR_PACE"), patience: read("SIM_PATIENCE"), ..Seams::default() };
    seams.on_commit = read("SIM_COMMIT_PAUSE").map(|pause| slow_disk(Duration::from_millis(pause)));
    if let Some(file) = std::env::var_os("SIM_COMMIT_HANG").map(PathBuf::from) {
        seams.on_commit = Some(hanging_disk(file));
    }
    if let Ok(kill) = std::env::var("SIM_KILL") {
        let (place, number) = kill.split_once(':').expect("SIM_KILL is PLACE:NUMBER");
        let countdown = Countdown::from(number.parse().expect("SIM_KILL ends in a number"));
        match place {
            "commit-before" => seams.on_commit = Some(death(CommitPoint::Before, countdown, seams.on_commit)),
            "commit-after" => seams.on_commit = Some(death(CommitPoint::After, countdown, seams.on_commit)),
            "frame" => seams.outgoing_frame = Some(Arc::new(move |_| countdown.tick())),
            _ => panic!("SIM_KILL knows commit-before, commit-after and frame"),
        }
    }
    if let Some(folder) = std::env::var_os("SIM_STUBS").map(PathBuf::from) {
        let bad_stanza = folder.join("bad-stanza");
        seams.outgoing_frame = Some(Arc::new(move |_| panic_once(&bad_stanza)));
        let tick = Duration::from_millis(read("SIM_TICK").unwrap_or(1000));
        seams.connector = Some(stubs::beside_the_real(&folder, read("SIM_SEED").unwrap_or(0), tick));
    }
    app::run(seams)
}

/// The file goes with the panic, so that it happens to one link only, whichever process that is in.
fn panic_once(file: &Path) {
    if std::fs::remove_file(file).is_ok() {
        panic!("a bad stanza");
    }
}

fn read<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|value| value.parse().ok().unwrap_or_else(|| panic!("{name} is not a number")))
}

/// Blocks the store's own thread, as a disk would.
fn slow_disk(pause: Duration) -> CommitHook {
    Arc::new(move |point| {
        if point == CommitPoint::Before {
            std::thread::sleep(pause);
        }
    })
}

fn hanging_disk(while_there: PathBuf) -> CommitHook {
    Arc::new(move |point| {
        while point == CommitPoint::Before && while_there.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

fn death(at: CommitPoint, countdown: Countdown, first: Option<CommitHook>) -> CommitHook {
    Arc::new(move |point| {
        first.iter().for_each(|hook| hook(point));
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
