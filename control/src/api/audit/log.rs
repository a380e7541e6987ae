//! The thread that writes the log file. It takes what waits in a [`Queue`]; what a full disk refuses
//! it tries again for ever.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::file::{Limits, LogFile};
use super::queue::Queue;

/// How long to leave a file alone that could not be written.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to the log at `path`, standard output if that is `-`.
///
/// # Errors
/// When the file cannot be opened or the system has no thread to give.
pub(super) fn open(path: &Path, limits: Limits) -> io::Result<Arc<Queue>> {
    let file = LogFile::open(path, limits)?;
    let queue = Arc::new(Queue::new("the audit log"));
    let writer = Writer {
        queue: queue.clone(),
        file,
    };
    let thread = std::thread::Builder::new().name("audit".into());
    thread.spawn(move || writer.run())?;
    Ok(queue)
}

struct Writer {
    queue: Arc<Queue>,
    file: LogFile,
}

impl Writer {
    fn run(mut self) {
        while let Some(line) = self.queue.pop() {
            let written = self.write(&line);
            self.queue.done(&[line], !written);
            if !written {
                break;
            }
        }
        self.queue.end();
    }

    /// Writes a line, however long it takes; false when the process ends before it is possible.
    fn write(&mut self, line: &Bytes) -> bool {
        let Err(error) = self.file.append(line) else {
            return true;
        };
        tracing::error!(%error, "the audit log cannot be written; requests go on");
        self.queue.stuck(true);
        while self.queue.pause(PAUSE) {
            if self.file.append(line).is_ok() {
                tracing::warn!("the audit log is written again");
                self.queue.stuck(false);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use super::super::queue::ROOM;
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
        let log = open(&path, LIMITS).unwrap();
        log.push("one\n".into());
        log.push("two\n".into());
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
        let log = open(&path, LIMITS).unwrap();
        let line = Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..40 {
            log.push(line.clone());
        }
        let (bytes, lost) = log.state();
        assert!(bytes <= ROOM, "{bytes}");
        assert_eq!(lost, 40 - (ROOM >> 20) as u64);
    }

    #[test]
    fn the_end_waits_for_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = open(&path, LIMITS).unwrap();
        for number in 0..5000 {
            log.push(format!("{number}\n").into());
        }
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        let numbers = text.lines().map(|line| line.parse::<u32>().unwrap());
        assert!(numbers.eq(0..5000), "lines are missing or in disorder");
    }
}
