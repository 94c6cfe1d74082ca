use std::path::Path;

use redb::{Database, ReadableTable as _, TableDefinition};

/// Where the embedded store keeps credentials: tenant, table, row.
pub const VAULT: TableDefinition<(&str, &str, &[u8]), &[u8]> = TableDefinition::new("vault");

/// Changes the last byte of every credential, as a disk may. The program must have ended.
pub fn damage_credentials(data_dir: &Path) {
    let database = Database::open(data_dir.join("tautan.redb")).expect("nobody else has it");
    let transaction = database.begin_write().expect("it can be written");
    {
        let mut table = transaction.open_table(VAULT).expect("it is there");
        let rows: Vec<_> = table
            .iter()
            .expect("it can be read")
            .map(|row| row.expect("a row"))
            .map(|(key, value)| {
                let (tenant, table, row) = key.value();
                (tenant.to_owned(), table.to_owned(), row.to_vec(), value.value().to_vec())
            })
            .collect();
        assert!(rows.len() > 10, "there are credentials");
        for (tenant, name, row, mut value) in rows {
            *value.last_mut().expect("not empty") ^= 1;
            table.insert((tenant.as_str(), name.as_str(), row.as_slice()), value.as_slice()).expect("written");
        }
    }
    transaction.commit().expect("written");
}
