use std::sync::Arc;

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
    pub fn new(phone: Phone, base: String, token: &str) -> Self {
        Self { phone, base, token: token.into(), http: reqwest::Client::new() }
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
