//! WhatsApp and a phone alone, for a service that is started by hand beside them.

use std::{error::Error, net::SocketAddr};

use tautan_simulator::{Phone, Simulator};

use crate::keys::{self, Pressed};

/// Each line on standard input is the text of a QR code, which the phone scans, or `u`.
pub async fn run(address: &str) -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = address.parse().map_err(|_| "--whatsapp takes an address such as 127.0.0.1:9000")?;
    // The simulator lets every client in.
    if !address.ip().is_loopback() {
        return Err("--whatsapp takes a loopback address only".into());
    }
    let simulator = Simulator::start_on(address).await?;
    let phone = simulator.phone("6281234567890", "Toko Sari");
    println!("WhatsApp: TAUTAN_WHATSAPP_URL={}", simulator.url());
    let mut keyboard = keys::keyboard();
    while let Pressed::Key(line) = keys::next(&mut keyboard).await {
        println!("phone: {}", answer(&phone, &line).await);
    }
    Ok(())
}

async fn answer(phone: &Phone, line: &str) -> String {
    match line {
        "u" => {
            let unlinked = phone.devices().into_iter().filter(|device| phone.unlink(*device)).count();
            format!("unlinked {unlinked} devices")
        }
        code => match phone.scan(code).await {
            Ok(_) => "scanned, the device is linked".to_owned(),
            Err(why) => why.to_string(),
        },
    }
}
