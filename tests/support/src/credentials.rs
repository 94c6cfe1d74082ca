use std::{fs::File, path::Path, time::Duration};

use redb::{Database, ReadableTable as _, TableDefinition};

/// Where the embedded store keeps credentials: tenant, table, row.
pub const CREDENTIALS: TableDefinition<(&str, &str, &[u8]), &[u8]> = TableDefinition::new("vault");

/// Opens the file of a program that has ended. Another may be started after it.
pub fn with_store<T>(data_dir: &Path, look: impl FnOnce(&Database) -> T) -> T {
    let path = data_dir.join("tautan.redb");
    let database = Database::open(&path).expect("no other process has it open");
    let found = look(&database);
    drop(database);
    // A process that another test starts just now has the open file, and its lock, until it is the program it is to be.
    while File::open(&path).expect("it is there").try_lock().is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    found
}

/// Changes the last byte of every credential, as a disk may; done twice it is as before. The program must have ended.
pub fn damage_credentials(data_dir: &Path) {
    with_store(data_dir, damage);
}

fn damage(database: &Database) {
    let transaction = database.begin_write().expect("it can be written");
    {
        let mut table = transaction.open_table(CREDENTIALS).expect("it is there");
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
