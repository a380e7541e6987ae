//! The embedded back end: redb, one table of objects, one of revisions.
//!
//! After an I/O error redb refuses further work until the file is opened again, so the database is
//! dropped and opened anew by the next commit; what was acknowledged is on disk either way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::backend::{Backend, BackendError, Row, RowChange, failed};

/// `resource|namespace/name` → revision and JSON.
const OBJECTS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("objects");
/// `resource` → revision of its last change; the empty name holds the newest revision of all.
const REVISIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("revisions");
/// All reads after the start come from memory: the page cache serves only the writer's tree walk.
const CACHE_BYTES: usize = 4 << 20;

/// A redb file.
pub(super) struct Embedded {
    path: PathBuf,
    database: Option<Database>,
    revision: u64,
}

impl Embedded {
    /// Opens or creates the file.
    pub(super) fn open(path: &Path) -> Result<Self, BackendError> {
        let database = open(path)?;
        let revision = stored_revision(&database)?;
        Ok(Self {
            path: path.to_owned(),
            database: Some(database),
            revision,
        })
    }

    /// The database, opened again if an error closed it.
    fn database(&mut self) -> Result<&Database, BackendError> {
        if self.database.is_none() {
            let database = open(&self.path)?;
            let disk = stored_revision(&database)?;
            if disk != self.revision {
                return Err(BackendError::Diverged {
                    disk,
                    memory: self.revision,
                });
            }
            self.database = Some(database);
        }
        Ok(self.database.as_ref().expect("opened above"))
    }

    fn try_commit(&mut self, revision: u64, changes: &[RowChange]) -> Result<(), BackendError> {
        let transaction = begin(self.database()?)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(failed)?;
            let mut revisions = transaction.open_table(REVISIONS).map_err(failed)?;
            let mut newest = BTreeMap::new();
            for change in changes {
                let key = row_key(&change.resource, &change.key);
                match change.json.as_deref() {
                    Some(json) => objects.insert(key.as_str(), (change.revision, json)),
                    None => objects.remove(key.as_str()),
                }
                .map_err(failed)?;
                let last = newest.entry(&*change.resource).or_insert(0);
                *last = change.revision.max(*last);
            }
            for (resource, last) in newest {
                // A row that is stored anew keeps its revision; others may have come after it.
                let before = revisions.get(resource).map_err(failed)?;
                let last = before.map_or(0, |before| before.value()).max(last);
                revisions.insert(resource, last).map_err(failed)?;
            }
            revisions.insert("", revision).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

impl Backend for Embedded {
    fn revision(&mut self) -> Result<u64, BackendError> {
        Ok(self.revision)
    }

    fn last_change(&mut self, resource: &str) -> Result<u64, BackendError> {
        let transaction = self.database()?.begin_read().map_err(failed)?;
        let table = transaction.open_table(REVISIONS).map_err(failed)?;
        Ok(table
            .get(resource)
            .map_err(failed)?
            .map_or(0, |revision| revision.value()))
    }

    fn scan(
        &mut self,
        resource: &str,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let transaction = self.database()?.begin_read().map_err(failed)?;
        let table = transaction.open_table(OBJECTS).map_err(failed)?;
        let prefix = row_key(resource, "");
        for entry in table.range(prefix.as_str()..).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let Some(key) = key.value().strip_prefix(&prefix) else {
                break;
            };
            let (revision, json) = value.value();
            each(Row {
                key,
                revision,
                json,
            })?;
        }
        Ok(())
    }

    fn commit(&mut self, revision: u64, changes: &[RowChange]) -> Result<(), BackendError> {
        let result = self.try_commit(revision, changes);
        match &result {
            Ok(()) => self.revision = revision,
            Err(_) => self.database = None,
        }
        result
    }
}

fn row_key(resource: &str, key: &str) -> String {
    format!("{resource}|{key}")
}

fn open(path: &Path) -> Result<Database, BackendError> {
    let mut builder = Database::builder();
    let database = builder
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(failed)?;
    let transaction = begin(&database)?;
    transaction.open_table(OBJECTS).map_err(failed)?;
    transaction.open_table(REVISIONS).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(database)
}

/// A transaction that leaves behind what a start after a crash needs: without it redb would look
/// through the whole file then. The price is a second fsync, and the journal stands in front of it.
fn begin(database: &Database) -> Result<WriteTransaction, BackendError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn stored_revision(database: &Database) -> Result<u64, BackendError> {
    let transaction = database.begin_read().map_err(failed)?;
    let table = transaction.open_table(REVISIONS).map_err(failed)?;
    Ok(table
        .get("")
        .map_err(failed)?
        .map_or(0, |revision| revision.value()))
}
