//! An account with many contacts costs what one with few costs.

use bytes::Bytes;
use tautan::store::Change;

use crate::bench::{Bench, connected};

/// A contact as the library saves it.
fn contact(n: usize) -> [Change; 2] {
    let (lid, phone) = (format!("{}", 100_000_000_000_000 + n), format!("62811{n:07}"));
    let row = format!(
        r#"{{"lid":"{lid}","phone_number":"{phone}","created_at":1,"updated_at":1,"learning_source":"usync"}}"#
    );
    let (lid, phone) = (Bytes::from(lid), Bytes::from(phone));
    [
        Change::Put { table: "lid", key: lid.clone(), value: row.into() },
        Change::Put { table: "pn", key: phone, value: lid },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_reads_few_rows_however_many_contacts_there_are() {
    let bench = Bench::new().await;
    let lease = bench.lease().await;
    let paired = bench.paired(&lease).await;
    paired.link.close().await;
    for first in (0..5_000).step_by(500) {
        let contacts = (first..first + 500).flat_map(contact).collect();
        bench.stores.credentials.write(&lease, contacts).await.unwrap();
    }
    let before = bench.credentials.rows_read();
    let mut link = bench.open(&lease).await;
    connected(&mut *link).await;
    bench.phone.send_text(paired.device, "Apakah masih ada?").await.unwrap();
    let read = bench.credentials.rows_read() - before;
    link.close().await;
    println!("{read} rows");
    assert!(read < 1_500, "{read}");
}
