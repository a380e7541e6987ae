//! The journal over a back end that can be made to refuse.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;

type Rows = BTreeMap<String, (u64, Bytes)>;

/// Rows in memory that outlive the back end, as a disk does.
#[derive(Clone, Default)]
struct Disk {
    rows: Arc<Mutex<(u64, Rows)>>,
    full: Arc<AtomicBool>,
}

impl Backend for Disk {
    fn revision(&mut self) -> Result<u64, BackendError> {
        Ok(self.rows.lock().0)
    }

    fn last_change(&mut self, _: &str) -> Result<u64, BackendError> {
        self.revision()
    }

    fn scan(
        &mut self,
        _: &str,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        for (key, (revision, json)) in &self.rows.lock().1 {
            each(Row {
                key,
                revision: *revision,
                json,
            })?;
        }
        Ok(())
    }

    fn commit(&mut self, revision: u64, changes: &[RowChange]) -> Result<(), BackendError> {
        let creates = changes.iter().any(|change| change.json.is_some());
        if creates && self.full.load(Ordering::Relaxed) {
            return Err(BackendError::Full);
        }
        let mut rows = self.rows.lock();
        for change in changes {
            match &change.json {
                Some(json) => {
                    let row = (change.revision, json.clone());
                    rows.1.insert(change.key.to_string(), row);
                }
                None => drop(rows.1.remove(&*change.key)),
            }
        }
        rows.0 = revision;
        Ok(())
    }
}

/// Journals over one disk, opened again and again.
struct Bench {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: Disk::default(),
        }
    }

    fn open(&self) -> Result<Journaled, BackendError> {
        let path = self.dir.path().join("store.redb");
        Journaled::open(&path, Box::new(self.disk.clone()))
    }

    /// Rows as a start finds them.
    fn found(&self) -> Vec<(String, u64, usize)> {
        let mut rows = Vec::new();
        let mut each = |row: Row<'_>| {
            rows.push((row.key.to_owned(), row.revision, row.json.len()));
            Ok(())
        };
        self.open().unwrap().scan("things", &mut each).unwrap();
        rows
    }
}

fn put(key: &str, revision: u64, bytes: usize) -> RowChange {
    RowChange {
        resource: "things".into(),
        key: key.into(),
        revision,
        json: Some(vec![b'x'; bytes].into()),
    }
}

fn removal(key: &str, revision: u64) -> RowChange {
    RowChange {
        json: None,
        ..put(key, revision, 0)
    }
}

/// Forgets a journal as a crash does: nothing is carried over.
fn crash(journal: Journaled) {
    std::mem::forget(journal);
}

#[test]
fn after_a_crash_everything_that_was_committed_is_there() {
    let bench = Bench::new();
    let mut journal = bench.open().unwrap();
    for revision in 1..=9 {
        let row = put(&format!("k{}", revision % 3), revision, 10);
        journal.commit(revision, &[row]).unwrap();
    }
    journal.commit(10, &[removal("k0", 10)]).unwrap();
    assert!(bench.disk.rows.lock().1.is_empty(), "still in the journal");
    crash(journal);
    let expected = [("k1".into(), 7, 10), ("k2".into(), 8, 10)];
    assert_eq!(bench.found(), expected);
    assert_eq!(bench.open().unwrap().revision().unwrap(), 10);
}

#[test]
fn segments_take_turns_and_lose_nothing() {
    let bench = Bench::new();
    let mut journal = bench.open().unwrap();
    // Some twelve segments.
    for revision in 1..=500 {
        let row = put(&format!("k{revision}"), revision, 100_000);
        journal.commit(revision, &[row]).unwrap();
    }
    crash(journal);
    assert_eq!(bench.found().len(), 500);
}

#[test]
fn a_batch_that_is_larger_than_a_segment_goes_past_the_journal() {
    let bench = Bench::new();
    let mut journal = bench.open().unwrap();
    journal.commit(1, &[put("small", 1, 10)]).unwrap();
    journal.commit(2, &[put("large", 2, 9 << 20)]).unwrap();
    journal.commit(3, &[put("small", 3, 20)]).unwrap();
    crash(journal);
    let expected = [("large".into(), 2, 9 << 20), ("small".into(), 3, 20)];
    assert_eq!(bench.found(), expected);
}

#[test]
fn with_a_full_disk_deletions_go_on() {
    let bench = Bench::new();
    let mut journal = bench.open().unwrap();
    bench.disk.full.store(true, Ordering::Relaxed);
    let mut revision = 0;
    let refused = loop {
        revision += 1;
        let row = put(&format!("k{revision}"), revision, 100_000);
        if let Err(error) = journal.commit(revision, &[row]) {
            break error;
        }
        assert!(revision < 200, "it never fills");
    };
    assert!(matches!(refused, BackendError::Full), "{refused}");
    for gone in 1..revision {
        let at = revision + gone - 1;
        let row = removal(&format!("k{gone}"), at);
        journal.commit(at, &[row]).expect("a deletion");
    }
    bench.disk.full.store(false, Ordering::Relaxed);
    let at = 2 * revision;
    journal.commit(at, &[put("after", at, 10)]).unwrap();
    crash(journal);
    assert_eq!(bench.found(), [("after".into(), at, 10)]);
}

#[test]
fn what_was_written_before_a_full_disk_is_there_when_it_has_room_again() {
    let bench = Bench::new();
    let mut journal = bench.open().unwrap();
    bench.disk.full.store(true, Ordering::Relaxed);
    let mut revision = 0;
    let create = |journal: &mut Journaled, revision: u64| {
        let row = put(&format!("k{revision}"), revision, 100_000);
        journal.commit(revision, &[row])
    };
    while create(&mut journal, revision + 1).is_ok() {
        revision += 1;
    }
    assert!(create(&mut journal, revision + 1).is_err(), "again");
    bench.disk.full.store(false, Ordering::Relaxed);
    for _ in 0..100 {
        revision += 1;
        create(&mut journal, revision).unwrap();
    }
    crash(journal);
    assert_eq!(bench.found().len() as u64, revision);
}

#[test]
fn damage_before_an_acknowledged_batch_stops_the_start() {
    use std::os::unix::fs::FileExt;

    let bench = Bench::new();
    let mut journal = bench.open().unwrap();
    let first = journal.active.room();
    journal.commit(1, &[put("a", 1, 100)]).unwrap();
    let size = first - journal.active.room();
    journal.commit(2, &[put("b", 2, 100)]).unwrap();
    crash(journal);
    let path = bench.dir.path().join("store.journal.0");
    let flip = |offset: u64| {
        let options = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path);
        let file = options.unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    };
    let start = segment::SIZE - segment::CAPACITY;
    flip(start + 50);
    let Err(error) = bench.open() else {
        panic!("an acknowledged batch is dropped silently");
    };
    assert!(error.to_string().contains("store.journal.0"), "{error}");
    flip(start + 50);
    // The last one may be torn: it was never acknowledged.
    flip(start + size + 50);
    assert_eq!(bench.found(), [("a".into(), 1, 100)]);
}
