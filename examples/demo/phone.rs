use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tautan::{
    auth::{KeySource, Minter, Secret, Settings},
    clock,
    tenant::TenantId,
};
use tautan_simulator::Phone;

/// A phone of the simulator with a camera: it reads the image that the service sends.
#[derive(Clone)]
pub struct DemoPhone {
    phone: Phone,
    base: String,
    token: Arc<str>,
    http: reqwest::Client,
}

impl DemoPhone {
    /// Signs its own token with the key that local mode keeps in its folder: the demo's user and phone are one person.
    pub fn new(phone: Phone, address: SocketAddr, folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let secret = std::fs::read_to_string(folder.join("sign-in.key"))?;
        let keys = vec![KeySource::Secret(Secret::new(secret.trim()))];
        let minter = Minter::new(&Settings { keys, ..Settings::default() }).ok_or("no secret to sign with")?;
        let token = minter.mint(&TenantId::parse("local")?, clock::system().now(), Duration::from_secs(24 * 3600));
        Ok(Self { phone, base: format!("http://{address}"), token: token.into(), http: reqwest::Client::new() })
    }

    pub async fn scan(&self) -> Result<(), String> {
        let answer = self.get("/api/whatsapp/qr", "image/png").await?;
        if !answer.status().is_success() {
            return Err("there is no QR code to scan: press the button on the page first".into());
        }
        let png = answer.bytes().await.map_err(|error| error.to_string())?;
        let image = image::load_from_memory(&png).map_err(|error| error.to_string())?;
        let mut camera = rqrr::PreparedImage::prepare(image.into_luma8());
        let grids = camera.detect_grids();
        let (_, text) =
            grids.first().ok_or("the camera sees no QR code")?.decode().map_err(|error| error.to_string())?;
        self.phone.scan(&text).await.map(drop).map_err(|error| error.to_string())
    }

    pub fn unlink(&self) -> bool {
        self.phone.devices().into_iter().filter(|device| self.phone.unlink(*device)).count() > 0
    }

    pub async fn get(&self, path: &str, accept: &str) -> Result<reqwest::Response, String> {
        let ask = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token).header("accept", accept);
        ask.send().await.map_err(|error| error.to_string())
    }
}
