//! Two customers at once: neither stream carries a byte of the other's.

use tautan_simulator::Phone;
use tautan_test_support::{Program, rank, read_data_url, within};

use crate::stage::{Stage, link};

/// The data of one stream, which no other tenant's stream may contain.
struct Carried {
    bytes: String,
    secrets: Vec<String>,
}

async fn pair(program: &Program, tenant: &str, phone: &Phone, name: &str) -> Carried {
    let api = program.api(tenant);
    let mut stream = api.events().await;
    api.connect().await;
    let qr = stream.until_qr().await;
    let image = qr.text("qrCode").to_owned();
    assert_eq!(read_data_url(&image), qr.text("qrText"));
    within("the scan", phone.scan(qr.text("qrText"))).await.expect("a living code");
    stream.until_status("connected").await;
    api.disconnect().await;
    stream.until_status("disconnected").await;
    let mut secrets = vec![image, phone.number(), name.to_owned(), tenant.to_owned()];
    secrets.extend(qr.text("qrText").split(',').filter(|part| part.len() > 3).map(str::to_owned));
    Carried { bytes: String::from_utf8(stream.bytes).expect("UTF-8"), secrets }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pairing_tenants_receive_nothing_of_each_other() {
    let stage = Stage::new().await;
    let program = stage.start();
    let (sari, budi) = ("Toko Sari", "Warung Budi");
    let (one, two) = (stage.simulator.phone("6281111111111", sari), stage.simulator.phone("6282222222222", budi));
    let (one, two) = tokio::join!(pair(&program, "toko", &one, sari), pair(&program, "warung", &two, budi));
    for (mine, other) in [(&one, &two), (&two, &one)] {
        // Everything except the tenant's name, which no stream contains.
        let carried = mine.secrets.iter().filter(|secret| mine.bytes.contains(*secret)).count();
        assert_eq!(carried, mine.secrets.len() - 1, "what is looked for can be found");
        for secret in &other.secrets {
            assert!(!mine.bytes.contains(secret), "{secret} reached a stranger");
        }
    }
}

/// A browser keeps its `Last-Event-ID` when another user signs in. Both tenants' journals have an event at the same place
/// after a restart; a stream that took the one for the other would stay empty, and the page would go on showing the first
/// user's account as connected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_id_of_another_tenant_begins_with_the_present() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    let phones = [stage.simulator.phone("6281111111111", "Sari"), stage.simulator.phone("6282222222222", "Budi")];
    for (tenant, phone) in ["sari", "budi"].into_iter().zip(&phones) {
        drop(link(&program.api(tenant), phone).await);
    }
    program.kill();
    stage.until_disconnected().await;
    let program = stage.start();
    let mut ids = Vec::new();
    for tenant in ["sari", "budi"] {
        ids.push(program.api(tenant).events().await.until_status("connected").await.id.expect("connected has an id"));
    }
    assert_eq!(rank(&ids[0]), rank(&ids[1]), "the same place in two journals");
    let mut stream = program.api("budi").events_after(Some(&ids[0])).await;
    let present = stream.next().await.expect("the present at once");
    assert_eq!(present.data["phoneNumber"], "6282222222222");
    assert_eq!(present.id.as_ref(), Some(&ids[1]));
}
