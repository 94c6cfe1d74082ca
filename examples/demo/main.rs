//! The whole service beside a WhatsApp simulator: no phone, no account, no network. In one process, or with
//! `--instances 3` as several on one Redis.
//!
//! The service is the real one, with its store in a temporary folder. The QR code takes the real way as well: the phone
//! reads the image that the service sends to browsers, and scans it on the simulator. `--whatsapp 127.0.0.1:9000` runs the
//! simulator and the phone alone.

mod balancer;
mod fleet;
mod keys;
mod phone;
mod several;
mod sign_in;
mod watch;
mod whatsapp;

use std::{error::Error, path::Path, time::Duration};

use tautan::{
    app::{App, Seams, StartError},
    auth::{KeySource, Minter, Secret, Settings},
    clock,
    config::Config,
    tenant::TenantId,
};
use tautan_simulator::Simulator;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use keys::Pressed;
use phone::DemoPhone;

/// The address that the documents name. When it is taken, the demo listens on another port.
const DOCUMENTED_ADDRESS: &str = "127.0.0.1:8080";
const ANY_PORT: &str = "127.0.0.1:0";

const KEYS: &str = "\x20 s  scan the QR code with the phone
  u  unlink the device on the phone
  l  lose the connection to WhatsApp for ten seconds
  q  quit (then a restart would resume the link; the demo's folder is thrown away)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => one_process().await,
        ["--instances", count] => match count.parse() {
            Ok(count @ 1..=9) => several::run(count).await,
            _ => Err("--instances takes a number from 1 to 9".into()),
        },
        ["--whatsapp", address] => whatsapp::run(address).await,
        _ => Err("the demo knows --instances NUMBER, --whatsapp ADDRESS and nothing else".into()),
    }
}

async fn one_process() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start().await?;
    let folder = tempfile::tempdir()?;
    let build = async |listen: &str| -> Result<App, Box<dyn Error>> {
        let environment = vec![
            ("TAUTAN_LISTEN".into(), listen.into()),
            ("TAUTAN_DATA_DIR".into(), folder.path().into()),
            ("TAUTAN_WHATSAPP_URL".into(), simulator.url().into()),
        ];
        Ok(App::build(Config::read(Vec::new(), environment)?, Seams::default()).await?)
    };
    // No look beforehand whether the address is free: another program could take it after the look.
    let app = match build(DOCUMENTED_ADDRESS).await {
        Err(error) if matches!(error.downcast_ref(), Some(StartError::Listen { .. })) => build(ANY_PORT).await?,
        built => built?,
    };
    let sign_in = app.sign_in_url().expect("without keys the service runs in local mode").to_owned();
    let base = format!("http://{}", app.local_addr());
    let phone = DemoPhone::new(simulator.phone("6281234567890", "Toko Sari"), base, &token(folder.path())?);

    println!("\nTautan, beside a WhatsApp simulator. Open this link in a browser (it signs you in once):\n");
    println!("    {sign_in}\n");
    println!(
        "Press \"Hubungkan WhatsApp\" there, and when the QR code shows, type a letter and Enter here:\n\n{KEYS}\n"
    );

    let tasks = TaskTracker::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = tasks.spawn(app.run(async { drop(stopped.await) }, std::future::pending()));
    let watching = tasks.spawn(watch::print_the_stream(phone.clone()));
    let mut keyboard = keys::keyboard();
    while let Pressed::Key(key) = keys::next(&mut keyboard).await {
        keys::act(&key, &phone, &simulator, KEYS).await;
    }
    watching.abort();
    let _ = stop.send(());
    service.await?;
    Ok(())
}

/// Signed with the key that local mode keeps in its folder: the demo's user and phone are one person.
fn token(folder: &Path) -> Result<String, Box<dyn Error>> {
    let secret = std::fs::read_to_string(folder.join("sign-in.key"))?;
    let keys = vec![KeySource::Secret(Secret::new(secret.trim()))];
    let minter = Minter::new(&Settings { keys, ..Settings::default() }).ok_or("no secret to sign with")?;
    Ok(minter.mint(&TenantId::parse("local")?, clock::system().now(), Duration::from_secs(24 * 3600)))
}
