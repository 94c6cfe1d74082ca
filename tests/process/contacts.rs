//! The memory and time of an account with many contacts.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tautan::{
    clock,
    store::{
        Change,
        crypt::MasterKey,
        embedded::{EmbeddedStore, KEY_FILE, Settings},
    },
    tenant::TenantId,
};

use tautan_test_support::Program;

use crate::stage::{Stage, TENANT, link};

const CONTACTS: usize = 100_000;
/// The store's page cache, which all sessions share, has 32 MiB. The session's own caches have 2 MiB, and what the
/// allocator keeps comes on top.
const GROWTH_MAX_KIB: u64 = (32 + 8) << 10;

/// Contacts in one write.
const TOGETHER: usize = 500;

/// A contact as the library saves it: two rows.
fn contact(n: usize) -> [Change; 2] {
    let (lid, phone) = (format!("{}", 100_000_000_000_000 + n), format!("62811{n:07}"));
    let row = format!(
        r#"{{"lid":"{lid}","phone_number":"{phone}","created_at":1,"updated_at":1,"learning_source":"usync"}}"#
    );
    let (lid, phone) = (bytes::Bytes::from(lid), bytes::Bytes::from(phone));
    [
        Change::Put { table: "lid", key: lid.clone(), value: row.into() },
        Change::Put { table: "pn", key: phone, value: lid },
    ]
}

/// Call it only while the program does not run: it opens its store.
async fn add_contacts(data_dir: &Path) {
    let key = MasterKey::load_or_create(&data_dir.join(KEY_FILE)).expect("the program's own");
    let store =
        EmbeddedStore::open(Settings::new(data_dir, key), clock::system()).expect("no other process has it open");
    let stores = store.stores();
    let tenant = TenantId::parse(TENANT).expect("a name");
    let lease = stores.ownership.acquire(&tenant).await.expect("it is open").expect("it is linked");
    for first in (0..CONTACTS).step_by(TOGETHER) {
        let changes: Vec<_> = (first..first + TOGETHER).flat_map(contact).collect();
        // A busy disk takes longer than a step may. Late rows are written again.
        let mut tries = 0;
        while let Err(error) = stores.credentials.write(&lease, changes.clone()).await {
            tries += 1;
            assert!(tries < 20, "{error}");
        }
    }
    stores.ownership.release(lease).await.expect("given back");
    store.close().await;
}

/// The memory of a process that has resumed the link and read a message.
async fn resumed_kib(stage: &Stage, program: &Program) -> u64 {
    let mut stream = program.api(TENANT).events().await;
    stream.until_status("connected").await;
    stage.proves_device().await;
    // The library's own work after a login.
    tokio::time::sleep(Duration::from_secs(3)).await;
    program.memory_kib()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: 200,000 rows are written first"]
async fn many_contacts_cost_no_memory() {
    let stage = Stage::new().await;
    let mut program = stage.start();
    link(&program.api(TENANT), &stage.phone).await;
    program.terminate();
    assert!(program.wait().success());
    let mut program = stage.start();
    let few = resumed_kib(&stage, &program).await;
    program.terminate();
    assert!(program.wait().success());
    add_contacts(stage.directory.path()).await;
    let program = stage.start();
    let begun = Instant::now();
    let many = resumed_kib(&stage, &program).await;
    println!("resumed after {:?}", begun.elapsed());
    println!("{few} KiB, with {CONTACTS} contacts {many} KiB");
    assert!(many < few + GROWTH_MAX_KIB, "grew by {} KiB", many - few);
}
