//! The setup of most tests of the program: a simulator, a phone, and a directory for the program's data.

use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use tautan_simulator::{DeviceId, Phone, Simulator};
use tempfile::TempDir;

use crate::{Api, CREDENTIALS, DEADLINE, EventStream, Program, Settings, read_data_url, with_store, within};

pub const TENANT: &str = "toko-sari";
pub const NUMBER: &str = "6281234567890";
pub const NAME: &str = "Toko Sari";
/// The platform of the simulator's phones.
pub const PLATFORM: &str = "android";

/// A simulator, a phone and a data directory that outlive the program's processes.
pub struct Stage {
    pub simulator: Simulator,
    pub phone: Phone,
    pub directory: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        let simulator = Simulator::start().await.expect("a free port");
        let phone = simulator.phone(NUMBER, NAME);
        Self { simulator, phone, directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn settings(&self) -> Settings {
        Settings::new(self.directory.path(), &self.simulator.url())
    }

    pub fn start(&self) -> Program {
        self.settings().start()
    }

    /// Waits until the simulator has read everything that a dead process sent, and has closed its sockets.
    pub async fn until_disconnected(&self) {
        let live_sockets = self.simulator.wait_until(DEADLINE, |simulator| simulator.sockets() == 0).await;
        live_sockets.expect("the sockets of a dead process end");
    }

    /// The one device that the phone lists.
    pub fn device(&self) -> DeviceId {
        let devices = self.phone.devices();
        assert_eq!(devices.len(), 1, "{devices:?}");
        devices[0]
    }

    /// Ends the program as a deploy does; the rows of credentials that it leaves on the disk.
    pub fn credentials_after(&self, program: &mut Program) -> usize {
        program.terminate();
        assert!(program.wait().success());
        with_store(self.directory.path(), |store| {
            let transaction = store.begin_read().expect("it can be read");
            let rows = transaction.open_table(CREDENTIALS).map(|table| table.len().expect("it can be read"));
            usize::try_from(rows.unwrap_or_default()).expect("few")
        })
    }

    /// A text reaches the device: its keys are those that the phone and the server know.
    pub async fn proves_device(&self) {
        let sent = within("the text", self.phone.send_text(self.device(), "Apakah masih ada?")).await;
        sent.expect("the device reads it");
    }
}

/// Links the account as a user would; returns the open stream.
pub async fn link(api: &Api, phone: &Phone) -> EventStream {
    let mut stream = api.events().await;
    api.connect().await;
    scan(&mut stream, phone).await;
    stream.until_status("connected").await;
    stream
}

/// Holds the phone before the next code of the stream.
pub async fn scan(stream: &mut EventStream, phone: &Phone) -> DeviceId {
    let qr = stream.until_qr().await;
    let text = read_data_url(qr.text("qrCode"));
    assert_eq!(text, qr.text("qrText"));
    within("the scan", phone.scan(&text)).await.expect("a living code")
}
