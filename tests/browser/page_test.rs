use tautan_simulator::{DeviceId, Phone, Simulator};
use tautan_test_support::{
    Program, Settings,
    stage::{self, Stage},
    token, within,
};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    browser::{Browser, PAGE},
    driver::Driver,
};

pub use stage::{NAME, NUMBER};

pub const TENANT: &str = "tenant";
/// The number as the page writes it.
pub const NUMBER_SHOWN: &str = "+62 812-3456-7890";

/// How many tests have a browser at once, however many run: a Chromium that starts or paints takes a whole core, and the
/// others' deadlines would pass meanwhile.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// Everything that a test of the page needs: what a [`Stage`] has, the running program, and a browser.
pub struct PageTest {
    pub browser: Browser,
    pub program: Program,
    pub simulator: Simulator,
    pub phone: Phone,
    environment: Vec<(String, String)>,
    directory: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl PageTest {
    /// Signed in, on the page, the tenant never linked. `None`: there is no Chromium here.
    pub async fn open() -> Option<Self> {
        let stage = Self::set(&[], "id-ID").await?;
        stage.sign_in().await;
        Some(stage)
    }

    /// Nothing is opened yet.
    pub async fn set(environment: &[(&str, &str)], languages: &str) -> Option<Self> {
        let driver = Driver::shared()?;
        let permit = BROWSERS.acquire().await.expect("it is never closed");
        let Stage { simulator, phone, directory } = Stage::new().await;
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let program = start(&directory, &simulator, &environment);
        let browser = Browser::start(driver, languages).await;
        Some(Self { browser, program, simulator, phone, environment, directory, _permit: permit })
    }

    pub fn page(&self) -> String {
        format!("{}{PAGE}", self.program.base())
    }

    pub async fn sign_in(&self) {
        self.sign_in_with(&token(TENANT)).await;
    }

    pub async fn sign_in_with(&self, token: &str) {
        self.browser.set_token(self.program.base(), token).await;
        self.browser.goto(&self.page()).await;
    }

    /// Links the tenant's account as another client would, without the page.
    pub async fn link(&self) -> DeviceId {
        self.link_to(TENANT, &self.phone).await
    }

    /// The same for another tenant, with a phone of its own.
    pub async fn link_as(&self, tenant: &str, number: &str) -> DeviceId {
        self.link_to(tenant, &self.simulator.phone(number, "Warung Budi")).await
    }

    async fn link_to(&self, tenant: &str, phone: &Phone) -> DeviceId {
        let api = self.program.api(tenant);
        let mut events = api.events().await;
        api.connect().await;
        let qr = events.until_qr().await;
        let device = within("the scan", phone.scan(qr.text("qrText"))).await.expect("the phone takes the code");
        events.until_status("connected").await;
        device
    }

    /// The QR text that the program offers now.
    pub async fn offered(&self) -> String {
        let ask = self.program.api(TENANT).ask(reqwest::Method::GET, "qr").header("accept", "application/json");
        let answer = within("the QR code", ask.send()).await.expect("an answer");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        answer["qrText"].as_str().unwrap_or_else(|| panic!("no code on offer: {answer}")).to_owned()
    }

    /// Holds the phone before what the program offers now.
    pub async fn scan_offered(&self) -> DeviceId {
        self.scan(&self.offered().await).await
    }

    async fn scan(&self, text: &str) -> DeviceId {
        within("the scan", self.phone.scan(text)).await.expect("the phone takes the code")
    }

    /// The phone forgets the device that was lost here; one press on the page and a scan of what it shows link another.
    pub async fn link_anew(&self, lost: DeviceId) {
        let card = self.browser.card();
        assert!(self.phone.unlink(lost));
        card.click("#connect").await;
        card.code().await;
        self.scan_offered().await;
        card.state("connected").await;
    }

    /// The same program again, on the same port with the same data.
    pub fn start_again(&mut self) {
        let address = self.program.base().trim_start_matches("http://").to_owned();
        let mut environment = self.environment.clone();
        environment.push(("TAUTAN_LISTEN".into(), address));
        self.program = start(&self.directory, &self.simulator, &environment);
    }
}

fn start(directory: &TempDir, simulator: &Simulator, environment: &Vec<(String, String)>) -> Program {
    let mut settings = Settings::new(directory.path(), &simulator.url());
    for (name, value) in environment {
        settings = settings.with(name, value);
    }
    settings.start()
}
