//! The whole service beside a WhatsApp simulator, in one process: no phone, no account, no network.
//!
//! The service is the real one, with its store in a temporary folder. So is the way of the QR code: the phone here reads
//! the image that the service sends to browsers, and scans it on the simulator.

mod phone;
mod watch;

use std::{net::TcpListener, time::Duration};

use tautan::{
    app::{App, Seams},
    config::Config,
};
use tautan_simulator::Simulator;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use phone::DemoPhone;

const KEYS: &str = "\x20 s  scan the QR code with the phone
  u  unlink the device on the phone
  l  lose the connection to WhatsApp for ten seconds
  q  quit (then a restart would resume the link; the demo's folder is thrown away)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let simulator = Simulator::start().await?;
    let folder = tempfile::tempdir()?;
    let environment = vec![
        ("TAUTAN_LISTEN".to_owned(), free_address()),
        ("TAUTAN_DATA_DIR".to_owned(), folder.path().display().to_string()),
        ("TAUTAN_WHATSAPP_URL".to_owned(), simulator.url()),
    ];
    let app = App::build(Config::read(Vec::new(), environment)?, Seams::default()).await?;
    let sign_in = app.sign_in_url().expect("without keys the service runs in local mode").to_owned();
    let phone = DemoPhone::new(simulator.phone("6281234567890", "Toko Sari"), app.local_addr(), folder.path())?;

    println!("\nTautan, beside a WhatsApp simulator. Open this link in a browser (it signs you in once):\n");
    println!("    {sign_in}\n");
    println!(
        "Press \"Hubungkan WhatsApp\" there, and when the QR code shows, type a letter and Enter here:\n\n{KEYS}\n"
    );

    let tasks = TaskTracker::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = tasks.spawn(app.run(async { drop(stopped.await) }, std::future::pending()));
    let watching = tasks.spawn(watch::print_the_stream(phone.clone()));

    let mut lines = keyboard();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tokio::signal::ctrl_c() => break,
        };
        // With nobody at the keyboard the demo goes on until it is interrupted.
        let Some(line) = line else {
            tokio::signal::ctrl_c().await?;
            break;
        };
        match line.trim() {
            "s" => match phone.scan().await {
                Ok(()) => println!("phone: scanned, the device is linked"),
                Err(why) => println!("phone: {why}"),
            },
            "u" => {
                println!("phone: {}", if phone.unlink() { "unlinked the device" } else { "has no device to unlink" })
            }
            "l" => {
                println!("network: WhatsApp cannot be reached for ten seconds");
                simulator.unreachable(true);
                simulator.cut_all();
                tokio::time::sleep(Duration::from_secs(10)).await;
                simulator.unreachable(false);
                println!("network: WhatsApp can be reached again");
            }
            "q" => break,
            "" => {}
            other => println!("{other:?} means nothing here:\n{KEYS}"),
        }
    }
    watching.abort();
    let _ = stop.send(());
    service.await?;
    Ok(())
}

/// A thread of its own: reading a terminal blocks, also the end of a runtime.
fn keyboard() -> mpsc::Receiver<String> {
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

/// The address of the documents where it is free.
fn free_address() -> String {
    let usual = "127.0.0.1:8080";
    if TcpListener::bind(usual).is_ok() { usual.into() } else { "127.0.0.1:0".into() }
}
