use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use redb::{
    Database, DatabaseError, Key, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
    TableHandle as _, Value, WriteTransaction,
};

use super::{
    OpenError,
    directory::Directory,
    file,
    rows::{CREDENTIALS, DESIRED_STATES, JOURNAL, META, REVOCATIONS},
};

/// Copies the store into a new file that replaces the old one. No process may have it open. Rows that were removed from
/// the old file are still in its free pages: tenants' names in clear, the rest encrypted.
pub fn rewrite(dir: &Path) -> Result<(), OpenError> {
    let directory = Directory::enter(dir)?;
    let path = directory.store();
    let engine = |error: redb::Error| OpenError::Engine { path: dir.to_owned(), source: Box::new(error) };
    // Held with its lock until the new file has replaced it: a process that starts meanwhile is refused.
    let (old, _) = file::open(&path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(dir.to_owned()),
        other => engine(other.into()),
    })?;
    let draft = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let moved = copy(&old, &draft).and_then(|()| {
        fs::rename(&draft, &path)?;
        Ok(directory.sync()?)
    });
    if moved.is_err() {
        // A draft that stays behind is never read.
        let _ = fs::remove_file(&draft);
    }
    moved.map_err(engine)
}

fn copy(old: &Database, draft: &Path) -> Result<(), redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(draft)?;
    let new = file::database(file)?;
    let (from, to) = (old.begin_read()?, new.begin_write()?);
    let known = [META.name(), JOURNAL.name(), DESIRED_STATES.name(), CREDENTIALS.name(), REVOCATIONS.name()];
    for table in from.list_tables()? {
        if !known.contains(&table.name()) {
            return Err(StorageError::Corrupted(format!("it has an unknown table {}", table.name())).into());
        }
    }
    copy_table(&from, &to, META)?;
    copy_table(&from, &to, JOURNAL)?;
    copy_table(&from, &to, DESIRED_STATES)?;
    copy_table(&from, &to, CREDENTIALS)?;
    copy_table(&from, &to, REVOCATIONS)?;
    to.commit()?;
    Ok(())
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &redb::ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<(), redb::Error> {
    let mut into = to.open_table(table)?;
    for row in from.open_table(table)?.iter()? {
        let (key, value) = row?;
        into.insert(key.value(), value.value())?;
    }
    Ok(())
}
