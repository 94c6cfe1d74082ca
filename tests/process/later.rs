//! This version of the program and a later one on one store, and the later one rolled back. The later one is this one with
//! a patch: it ends a link with a reason that this version does not know, adds a field to Redis's record, and saves the
//! device's row in a form that this version cannot read. `ci/later.sh` builds it and runs these tests (`make long`).

use std::{path::Path, process::Command};

use tautan_simulator::Phone;
use tautan_test_support::{Api, Binary, Program, RedisServer, Settings};

use crate::{
    redis::on,
    stage::{NAME, Stage, TENANT, link},
    starts::KEY,
};

const WORD: &str = "eaten-by-a-whale";
/// A tenant whose phone unlinks the device while the later version runs.
const ENDED: &str = "toko-budi";

#[test]
fn patch_to_a_later_version_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patch = ["apply", "--check", "tests/process/later/version.patch"];
    let check = Command::new("git").args(patch).current_dir(root).output().expect("git runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

struct Upgrade {
    stage: Stage,
    other: Phone,
    settings: Box<dyn Fn(&Stage) -> Settings>,
}

impl Upgrade {
    async fn of(settings: impl Fn(&Stage) -> Settings + 'static) -> Self {
        let stage = Stage::new().await;
        let other = stage.simulator.phone("6281234567891", NAME);
        Self { stage, other, settings: Box::new(settings) }
    }

    fn this_version(&self) -> Program {
        (self.settings)(&self.stage).start()
    }

    fn later_version(&self) -> Program {
        (self.settings)(&self.stage).binary(Binary::Later).start()
    }

    /// One tenant is linked, and the other one's link has ended with a reason of the later version.
    async fn reasons_of_later(&self, later: &Program) {
        drop(link(&later.api(TENANT), &self.stage.phone).await);
        let mut stream = link(&later.api(ENDED), &self.other).await;
        let devices = self.other.devices();
        assert!(self.other.unlink(devices[0]));
        let ended = stream.until_status("disconnected").await;
        assert_eq!(ended.data["reason"], WORD);
    }
}

async fn reason(api: &Api, status: &str) -> String {
    let event = api.events().await.until_status(status).await;
    event.data["reason"].as_str().unwrap_or_default().to_owned()
}

fn ends(mut program: Program) {
    program.terminate();
    let (code, output) = program.ended();
    assert_eq!(code, Some(0), "{output}");
}

/// No tenant is ever locked out, and the link resumes with the version that can read its credentials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a later version: make long"]
async fn later_version_on_one_redis_is_rolled_back() {
    let server = RedisServer::start();
    let url = server.url();
    let upgrade = Upgrade::of(move |stage| on(stage, &url, KEY)).await;
    let later = upgrade.later_version();
    upgrade.reasons_of_later(&later).await;

    // Side by side.
    let this = upgrade.this_version();
    assert_eq!(reason(&this.api(ENDED), "disconnected").await, "internal", "the general case");
    assert_eq!(reason(&later.api(ENDED), "disconnected").await, WORD, "and it stays as it is");
    this.api(TENANT).events().await.until_status("connected").await;

    // Rolled back.
    ends(later);
    assert_eq!(reason(&this.api(TENANT), "disconnected").await, "credentials-unreadable");
    this.api(ENDED).connect().await;
    this.api(ENDED).events().await.until_qr().await;
    this.api(ENDED).disconnect().await;

    // And deployed again.
    let later = upgrade.later_version();
    ends(this);
    later.api(TENANT).events().await.until_status("connected").await;
    upgrade.stage.proves_device().await;

    // Rolled back for good: an unlink makes room.
    let this = upgrade.this_version();
    ends(later);
    assert_eq!(reason(&this.api(TENANT), "disconnected").await, "credentials-unreadable");
    this.api(TENANT).disconnect().await;
    let mut stream = this.api(TENANT).events().await;
    stream.until("the unlink", |event| event.data["reason"] == "unlinked-by-user").await;
    assert!(upgrade.stage.phone.unlink(upgrade.stage.device()));
    drop(link(&this.api(TENANT), &upgrade.stage.phone).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a later version: make long"]
async fn later_version_on_one_data_directory_is_rolled_back() {
    let upgrade = Upgrade::of(Stage::settings).await;
    let later = upgrade.later_version();
    upgrade.reasons_of_later(&later).await;
    ends(later);
    let this = upgrade.this_version();
    assert_eq!(reason(&this.api(ENDED), "disconnected").await, "internal");
    assert_eq!(reason(&this.api(TENANT), "disconnected").await, "credentials-unreadable");
    ends(this);
    let later = upgrade.later_version();
    assert_eq!(reason(&later.api(ENDED), "disconnected").await, WORD, "it stayed as it was");
    later.api(TENANT).events().await.until_status("connected").await;
    upgrade.stage.proves_device().await;
}
