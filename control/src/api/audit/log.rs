//! The way to the log file: a queue of bounded size and the thread that empties it.
//!
//! No request waits for the disk. While it is slow or full, lines wait here; when they would take
//! more than [`ROOM`], new ones are lost, which is told when it begins and counted when it is over.
//! A process that is killed loses what waits, which on a disk that keeps up is nothing.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::file::{Limits, LogFile};

/// Bytes of lines that may wait.
const ROOM: usize = 16 << 20;
/// How long to leave a file alone that could not be written.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(5);

/// A log that is being written.
pub(super) struct Log(Arc<Queue>);

impl Log {
    /// Opens the log at `path`, standard output if that is `-`.
    ///
    /// # Errors
    /// When the file cannot be opened or the system has no thread to give.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let file = LogFile::open(path, limits)?;
        let queue = Arc::new(Queue::default());
        let writer = Writer {
            queue: queue.clone(),
            file,
        };
        let thread = std::thread::Builder::new().name("audit".into());
        thread.spawn(move || writer.run())?;
        Ok(Self(queue))
    }

    /// Hands over a line, which ends with a line feed. Never waits for the disk.
    pub(super) fn write(&self, line: Vec<u8>) {
        self.0.push(line);
    }

    /// Waits until everything is written.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        let mut waiting = self.0.waiting.lock();
        let busy = |waiting: &mut Waiting| waiting.bytes > 0;
        let ended = self.0.news.wait_while_for(&mut waiting, busy, PATIENCE);
        assert!(!ended.timed_out(), "lines are still waiting");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Something in `waiting` has changed.
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Of the lines, and of the one that is being written.
    bytes: usize,
    /// Lines since the queue was last empty for which it had no room.
    lost: u64,
    /// No lines will follow.
    closed: bool,
    /// The writer is gone.
    ended: bool,
}

impl Queue {
    fn push(&self, line: Vec<u8>) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + line.len() <= ROOM {
            waiting.bytes += line.len();
            waiting.lines.push_back(line);
            self.news.notify_all();
            return;
        }
        waiting.lost += 1;
        if waiting.lost == 1 {
            tracing::error!("the audit log is too slow or full: events are lost");
        }
    }

    /// The next line; none when it was the last.
    fn pop(&self) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.lock();
        self.news.wait_while(&mut waiting, |waiting| {
            waiting.lines.is_empty() && !waiting.closed
        });
        waiting.lines.pop_front()
    }

    /// A line of so many bytes is in the file.
    fn written(&self, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.bytes -= bytes;
        self.news.notify_all();
        if waiting.lines.is_empty() && waiting.lost > 0 {
            let lost = std::mem::take(&mut waiting.lost);
            tracing::warn!(lost, "the audit log keeps up again");
        }
    }

    /// Waits for a while; whether lines may still follow.
    fn pause(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let open = |waiting: &mut Waiting| !waiting.closed;
        self.news.wait_while_for(&mut waiting, open, PAUSE);
        !waiting.closed
    }

    /// No lines will follow; waits until the last ones are written, if that is possible.
    fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        self.news.notify_all();
        let busy = |waiting: &mut Waiting| !waiting.ended;
        self.news.wait_while_for(&mut waiting, busy, PATIENCE);
        let lost = waiting.lost + waiting.lines.len() as u64;
        if lost > 0 {
            tracing::error!(lost, "the audit log ends incomplete");
        }
    }
}

struct Writer {
    queue: Arc<Queue>,
    file: LogFile,
}

impl Writer {
    fn run(mut self) {
        while let Some(line) = self.queue.pop() {
            if !self.write(&line) {
                break;
            }
            self.queue.written(line.len());
        }
        self.queue.waiting.lock().ended = true;
        self.queue.news.notify_all();
    }

    /// Writes a line, however long it takes; false when the process ends before it is possible.
    fn write(&mut self, line: &[u8]) -> bool {
        let Err(error) = self.file.append(line) else {
            return true;
        };
        tracing::error!(%error, "the audit log cannot be written; requests go on");
        while self.queue.pause() {
            if self.file.append(line).is_ok() {
                tracing::warn!("the audit log is written again");
                return true;
            }
        }
        self.queue.waiting.lock().lost += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use super::*;

    const LIMITS: Limits = Limits {
        size: 1 << 30,
        age: Duration::ZERO,
        backups: 0,
    };

    #[test]
    fn what_a_full_disk_refuses_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let (path, real) = (folder.path().join("log"), folder.path().join("real"));
        symlink("/dev/full", &path).unwrap();
        let log = Log::open(&path, LIMITS).unwrap();
        log.write(b"one\n".to_vec());
        log.write(b"two\n".to_vec());
        // Put into its place at once, as a disk that has room again.
        let other = folder.path().join("other");
        symlink(&real, &other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while std::fs::read_to_string(&real).unwrap_or_default() != "one\ntwo\n" {
            assert!(Instant::now() < end, "it is not written again");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_disk_that_hangs_holds_nobody_up_and_memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let log = Log::open(&path, LIMITS).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            log.write(line.clone());
        }
        let waiting = log.0.waiting.lock();
        assert!(waiting.bytes <= ROOM, "{}", waiting.bytes);
        assert_eq!(waiting.lost, 40 - (ROOM >> 20) as u64);
        drop(waiting);
        // The writer hangs in the pipe for ever; the end must not.
        log.0.waiting.lock().ended = true;
    }

    #[test]
    fn the_end_waits_for_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::open(&path, LIMITS).unwrap();
        for number in 0..5000 {
            log.write(format!("{number}\n").into_bytes());
        }
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let numbers = text.lines().map(|line| line.parse::<u32>().unwrap());
        assert!(numbers.eq(0..5000), "lines are missing or in disorder");
    }
}
