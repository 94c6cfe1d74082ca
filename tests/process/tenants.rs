//! Two customers at once: neither stream carries a byte of the other's.

use tautan_simulator::Phone;
use tautan_test_support::{Program, read_data_url, within};

use crate::stage::Stage;

/// What a stream carried, and what nobody else's may carry.
struct Told {
    bytes: String,
    secrets: Vec<String>,
}

async fn pair(program: &Program, tenant: &str, phone: &Phone, name: &str) -> Told {
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
    Told { bytes: String::from_utf8(stream.bytes).expect("UTF-8"), secrets }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_that_pair_at_once_are_told_nothing_of_each_other() {
    let stage = Stage::new().await;
    let program = stage.start();
    let (sari, budi) = ("Toko Sari", "Warung Budi");
    let (one, two) = (stage.simulator.phone("6281111111111", sari), stage.simulator.phone("6282222222222", budi));
    let (one, two) = tokio::join!(pair(&program, "toko", &one, sari), pair(&program, "warung", &two, budi));
    for (mine, other) in [(&one, &two), (&two, &one)] {
        // All but the tenant's name, which no stream says.
        let carried = mine.secrets.iter().filter(|secret| mine.bytes.contains(*secret)).count();
        assert_eq!(carried, mine.secrets.len() - 1, "what is looked for can be found");
        for secret in &other.secrets {
            assert!(!mine.bytes.contains(secret), "{secret} reached a stranger");
        }
    }
}
