//! The keys that a visitor presses.

use std::time::Duration;

use tautan_simulator::Simulator;
use tokio::sync::mpsc;

use crate::phone::DemoPhone;

pub enum Pressed {
    Key(String),
    Quit,
}

/// Runs in its own thread: reading a terminal blocks, also at the end of a runtime.
pub fn keyboard() -> mpsc::Receiver<String> {
    let (typed, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Cancel safe.
pub async fn next(lines: &mut mpsc::Receiver<String>) -> Pressed {
    let interrupted = async {
        // If signals cannot be handled, the default action ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // Without a terminal the demo goes on until it is interrupted.
        Some(line) = lines.recv() => match line.trim() {
            "q" => Pressed::Quit,
            key => Pressed::Key(key.to_owned()),
        },
        () = interrupted => Pressed::Quit,
    }
}

pub async fn act(key: &str, phone: &DemoPhone, simulator: &Simulator, keys: &str) {
    match key {
        "s" => match phone.scan().await {
            Ok(()) => println!("phone: scanned, the device is linked"),
            Err(why) => println!("phone: {why}"),
        },
        "u" => println!("phone: {}", if phone.unlink() { "unlinked the device" } else { "has no device to unlink" }),
        "l" => {
            println!("network: WhatsApp cannot be reached for ten seconds");
            simulator.unreachable(true);
            simulator.cut_all();
            tokio::time::sleep(Duration::from_secs(10)).await;
            simulator.unreachable(false);
            println!("network: WhatsApp can be reached again");
        }
        "" => {}
        other => println!("{other:?} means nothing here:\n{keys}"),
    }
}
