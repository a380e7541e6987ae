//! One file of the journal: made at its full size, so that an append changes no metadata of the file
//! system and one `fdatasync` is all that it costs.
//!
//! The first block holds `magic | generation | crc`, then batches follow ([`super::record`]). A new
//! life of the segment begins with a higher generation; what stands behind the header from an earlier
//! life is void at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::backend::{BackendError, RowChange, failed};
use super::record::{self, Batch};

/// Bytes of a segment, header included.
pub(super) const SIZE: u64 = 4 << 20;
/// Bytes of the header: a block of its own, so that no append touches it.
const HEADER: u64 = 4096;
/// Bytes of batches that an empty segment takes.
pub(super) const CAPACITY: u64 = SIZE - HEADER;
const MAGIC: &[u8; 8] = b"NARUJNL1";

/// A segment and where its next batch goes.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    pub(super) generation: u64,
    end: u64,
}

impl Segment {
    /// Opens a segment or makes it, and reads what it holds.
    ///
    /// # Errors
    /// When the file can't be read or made, or is damaged in its middle.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Batch>), BackendError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut segment = Self {
            path: path.to_owned(),
            file,
            generation: 0,
            end: HEADER,
        };
        // A segment that is shorter was not made to its end and never used.
        if length < SIZE {
            segment.make()?;
            return Ok((segment, Vec::new()));
        }
        let batches = segment.read()?;
        Ok((segment, batches))
    }

    /// Fills the file with zeros: unwritten extents would have to be converted by later appends.
    fn make(&self) -> Result<(), BackendError> {
        let zeros = vec![0; 64 << 10];
        for start in (0..SIZE).step_by(zeros.len()) {
            self.file.write_all_at(&zeros, start).map_err(failed)?;
        }
        self.file.sync_all().map_err(failed)
    }

    fn read(&mut self) -> Result<Vec<Batch>, BackendError> {
        let mut bytes = vec![0; usize::try_from(SIZE).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let bytes = Bytes::from(bytes);
        let Some(generation) = generation_of(&bytes) else {
            return Ok(Vec::new());
        };
        self.generation = generation;
        let mut rest = bytes.slice(HEADER as usize..);
        let mut batches = Vec::new();
        while let Some((batch, size)) = record::decode(generation, &rest) {
            batches.push(batch);
            rest = rest.slice(size..);
            self.end += size as u64;
        }
        // The last append may be torn; what was acknowledged after it can't be.
        if record::occurs(generation, &rest) {
            return Err(BackendError::Journal {
                path: self.path.display().to_string(),
                offset: self.end,
            });
        }
        Ok(batches)
    }

    /// Begins a new life: what the segment holds is void.
    ///
    /// # Errors
    /// When the header can't be made durable; the old life goes on then.
    pub(super) fn begin(&mut self, generation: u64) -> Result<(), BackendError> {
        let number = generation.to_le_bytes();
        let sum = crc32fast::hash(&number).to_le_bytes();
        let header = [MAGIC.as_slice(), &number, &sum].concat();
        self.file.write_all_at(&header, 0).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.generation = generation;
        self.end = HEADER;
        Ok(())
    }

    /// Bytes that are left.
    pub(super) fn room(&self) -> u64 {
        SIZE.saturating_sub(self.end)
    }

    /// A batch as it is appended.
    pub(super) fn encode(&self, revision: u64, changes: &[RowChange], out: &mut Vec<u8>) {
        out.clear();
        record::encode(self.generation, revision, changes, out);
    }

    /// Makes an encoded batch durable.
    ///
    /// # Errors
    /// When it is not known to be; the next append takes its place.
    pub(super) fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        self.file.write_all_at(batch, self.end)?;
        self.file.sync_data()?;
        self.end += batch.len() as u64;
        Ok(())
    }
}

fn generation_of(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let sum = rest.first_chunk::<4>()?;
    (crc32fast::hash(number).to_le_bytes() == *sum).then(|| u64::from_le_bytes(*number))
}
