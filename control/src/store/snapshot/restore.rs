//! Making a store of a snapshot, where there is none yet.
//!
//! The file is read twice: first all of it is checked, then it is used. A store appears whole or not
//! at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use super::{FORMAT, Header, Row, Trailer};
use crate::store::ResourceDef;
use crate::store::backend::{Backend, BackendError, RowChange};
use crate::store::embedded::Embedded;
use crate::store::etcd::{EtcdConfig, Import};
use crate::store::seal::{Encryption, Sealed};

/// Objects that are written together.
const BATCH: usize = 500;
/// A restored store goes on at a revision that nobody can have seen: what clients remember from after
/// the snapshot must not be taken for something that is there.
const AHEAD: u64 = 1 << 32;

/// What was restored.
#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    /// Objects.
    pub objects: u64,
    /// The revision of the snapshot.
    pub revision: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be read.
    #[error("the snapshot cannot be read")]
    Read(#[source] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the snapshot: {why}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// The last line is missing.
    #[error("the snapshot ends after {objects} objects without its last line: it was cut off")]
    CutOff {
        /// Objects until there.
        objects: u64,
    },
    /// What stands in the file is not what was written.
    #[error("the snapshot is damaged: its checksum is {found:08x}, not {expected:08x}")]
    Damaged {
        /// Of the file.
        found: u32,
        /// In its last line.
        expected: u32,
    },
    /// There is a store already.
    #[error("there is a store already: {0}")]
    Occupied(String),
    /// The new store cannot be written.
    #[error("the store")]
    Store(#[from] BackendError),
    /// The new store cannot be put in its place.
    #[error("{path}")]
    Place {
        /// Where it should be.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Makes the embedded store `path` of the snapshot `from`. Watches of `resources`, and of those in the
/// snapshot, from before the restoration are refused.
///
/// # Errors
/// When the snapshot is not whole, or there is a store already; there is none then, or the one that
/// was there.
pub fn into_file(
    from: &Path,
    path: &Path,
    resources: &[ResourceDef],
    encryption: Encryption,
) -> Result<Restored, RestoreError> {
    let place = |source| RestoreError::Place {
        path: path.display().to_string(),
        source,
    };
    if path.exists() {
        return Err(RestoreError::Occupied(path.display().to_string()));
    }
    let restored = check(from)?;
    let unfinished = path.with_extension("restoring");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(place(error)),
        _ => {}
    }
    let mut store = Sealed::new(Embedded::open(&unfinished)?, encryption);
    let revision = restored.revision + AHEAD;
    let mut names: BTreeSet<Arc<str>> = resources.iter().map(|it| it.row_name().into()).collect();
    let mut batches = Batches::open(from)?;
    while let Some(rows) = batches.next()? {
        names.extend(rows.iter().map(|row| row.resource.clone()));
        store.commit(revision, &rows)?;
    }
    let changed: Vec<_> = names
        .into_iter()
        .map(|name| change(name, revision))
        .collect();
    store.commit(revision, &changed)?;
    drop(store);
    std::fs::rename(&unfinished, path).map_err(place)?;
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).map_err(place)?;
    directory.sync_all().map_err(place)?;
    Ok(restored)
}

/// Puts the snapshot `from` into an etcd that holds nothing below the configured prefix. Revisions are
/// etcd's own.
///
/// # Errors
/// As [`into_file`]; when etcd fails half way, what is below the prefix has to be deleted before
/// another try.
pub async fn into_etcd(
    from: &Path,
    config: &EtcdConfig,
    encryption: Encryption,
) -> Result<Restored, RestoreError> {
    let restored = check(from)?;
    let import = Import::new(config, encryption)?;
    if !import.is_empty().await? {
        let occupied = format!("{} in etcd", config.prefix);
        return Err(RestoreError::Occupied(occupied));
    }
    let mut batches = Batches::open(from)?;
    while let Some(rows) = batches.next()? {
        import.put(&rows).await?;
    }
    Ok(restored)
}

/// A change that changes nothing, after which nobody can watch from before it.
fn change(resource: Arc<str>, revision: u64) -> RowChange {
    RowChange {
        resource,
        key: "".into(),
        revision,
        json: None,
    }
}

/// Reads the whole file and says what it holds.
fn check(from: &Path) -> Result<Restored, RestoreError> {
    let mut lines = Lines::open(from)?;
    let (mut checksum, mut objects) = (crc32fast::Hasher::new(), 0);
    let Some((number, first)) = lines.next()? else {
        return Err(RestoreError::CutOff { objects });
    };
    let revision = header(first).map_err(|why| fault(number, why))?;
    checksum.update(first.as_bytes());
    while let Some((number, text)) = lines.next()? {
        match serde_json::from_str::<Row<'_>>(text) {
            Ok(_) => {
                checksum.update(text.as_bytes());
                objects += 1;
            }
            Err(error) => {
                let trailer = serde_json::from_str(text).map_err(|_| fault(number, error))?;
                compare(&trailer, objects, checksum.finalize())?;
                return match lines.next()? {
                    None => Ok(Restored { objects, revision }),
                    Some((number, _)) => Err(fault(number, "something stands behind the end")),
                };
            }
        }
    }
    Err(RestoreError::CutOff { objects })
}

/// The revision in the first line.
fn header(text: &str) -> Result<u64, String> {
    let header: Header =
        serde_json::from_str(text).map_err(|_| "this is no snapshot of Naru".to_owned())?;
    if header.naru_snapshot == FORMAT {
        Ok(header.revision)
    } else {
        let form = header.naru_snapshot;
        Err(format!("the form {form} of snapshots is not known here"))
    }
}

/// What was found, with what the last line says.
fn compare(trailer: &Trailer, objects: u64, crc32: u32) -> Result<(), RestoreError> {
    if *trailer == (Trailer { objects, crc32 }) {
        return Ok(());
    }
    Err(RestoreError::Damaged {
        found: crc32,
        expected: trailer.crc32,
    })
}

fn fault(line: u64, why: impl ToString) -> RestoreError {
    RestoreError::Line {
        line,
        why: why.to_string(),
    }
}

/// The objects of a file that was checked, some at a time.
struct Batches(Lines);

impl Batches {
    fn open(from: &Path) -> Result<Self, RestoreError> {
        let mut lines = Lines::open(from)?;
        // The header.
        lines.next()?;
        Ok(Self(lines))
    }

    /// The next of them; none is the end.
    fn next(&mut self) -> Result<Option<Vec<RowChange>>, RestoreError> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some((_, text)) = self.0.next()? else {
                break;
            };
            // The trailer is none.
            let Ok(row) = serde_json::from_str::<Row<'_>>(text) else {
                break;
            };
            batch.push(RowChange {
                resource: row.resource.into(),
                key: row.key.into(),
                revision: row.revision,
                json: Some(row.object.get().to_owned().into()),
            });
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// Lines with their numbers and ends.
struct Lines {
    file: BufReader<File>,
    text: String,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, RestoreError> {
        let file = File::open(path).map_err(RestoreError::Read)?;
        Ok(Self {
            file: BufReader::with_capacity(1 << 20, file),
            text: String::new(),
            number: 0,
        })
    }

    fn next(&mut self) -> Result<Option<(u64, &str)>, RestoreError> {
        self.text.clear();
        self.number += 1;
        let read = self.file.read_line(&mut self.text);
        let read = read.map_err(RestoreError::Read)?;
        Ok((read > 0).then_some((self.number, self.text.as_str())))
    }
}
