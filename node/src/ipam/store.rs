//! Leases on disk: written aside, synced, renamed, and the directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use super::lease::{Lease, LeaseKey};

const SUFFIX: &str = "json";
const UNFINISHED: &str = "tmp";

/// A file operation on a lease failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct StoreError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A directory with one file per lease.
#[derive(Debug)]
pub struct LeaseStore {
    dir: PathBuf,
}

impl LeaseStore {
    /// Uses `dir`, creating it when absent.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        Ok(Self { dir })
    }

    /// Reads every lease and clears away unfinished writes.
    ///
    /// # Errors
    /// When the directory or a file cannot be read, or a finished file is not a lease: guessing
    /// could give an address twice.
    pub fn load(&self) -> Result<Vec<Lease>, StoreError> {
        let mut leases = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let path = entry.map_err(failed("list", &self.dir))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SUFFIX) => {
                    let bytes = fs::read(&path).map_err(failed("read", &path))?;
                    let lease = serde_json::from_slice(&bytes).map_err(io::Error::from);
                    leases.push(lease.map_err(failed("understand", &path))?);
                }
                Some(UNFINISHED) => fs::remove_file(&path).map_err(failed("remove", &path))?,
                _ => {}
            }
        }
        Ok(leases)
    }

    /// Makes a lease durable.
    ///
    /// # Errors
    /// When a step fails; the lease does not exist then, or exists whole.
    pub fn save(&self, lease: &Lease) -> Result<(), StoreError> {
        let path = self.path(&lease.key);
        let unfinished = path.with_added_extension(UNFINISHED);
        let bytes = serde_json::to_vec(lease).map_err(io::Error::from);
        let bytes = bytes.map_err(failed("encode", &path))?;
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            self.sync()
        };
        write().map_err(failed("write", &path))
    }

    /// Removes a lease; one that does not exist is no error.
    ///
    /// # Errors
    /// When the file exists and cannot be removed.
    pub fn remove(&self, key: &LeaseKey) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path).and_then(|()| self.sync()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Sandbox ids and interface names have no comma or slash (checked by the plugin).
    fn path(&self, key: &LeaseKey) -> PathBuf {
        self.dir
            .join(format!("{},{}.{SUFFIX}", key.sandbox, key.ifname))
    }
}

fn failed(operation: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError {
        operation,
        path,
        source,
    }
}
