//! The log file: lines are appended, a full file is turned over, old ones are removed by age and
//! number. Whoever reads the log sees whole lines only: what a crash or a full disk has left of one
//! is ended before the next.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

/// When a log is turned over and what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after which a file is turned over.
    pub size: u64,
    /// Age after which a turned file is removed; zero: never.
    pub age: Duration,
    /// Turned files that are kept; zero: all.
    pub backups: usize,
}

/// A log file, or standard output, which is never turned over.
pub(super) struct LogFile {
    /// None for standard output.
    path: Option<PathBuf>,
    limits: Limits,
    /// None after a failure: it is opened anew.
    open: Option<Open>,
    /// In the name of the file that was turned last.
    turned: Timestamp,
}

struct Open {
    file: Box<dyn Write + Send>,
    size: u64,
    /// Something of a line may stand at the end.
    torn: bool,
}

impl LogFile {
    /// Opens or makes the file at `path`, readable by its owner only; standard output if that is
    /// `-`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let mut log = Self {
            path: (path != Path::new("-")).then(|| path.to_owned()),
            limits,
            open: None,
            turned: Timestamp::UNIX_EPOCH,
        };
        log.open = Some(open(log.path.as_deref())?);
        Ok(log)
    }

    /// Appends a line, which ends with a line feed.
    ///
    /// # Errors
    /// When the line is not in the file, or only a part of it.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.try_append(line);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        let limit = self.limits.size;
        let full = |open: &Open| open.size > 0 && open.size + line.len() as u64 > limit;
        if self.open.as_ref().is_some_and(full) {
            self.turn()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(open(self.path.as_deref())?),
        };
        if std::mem::replace(&mut open.torn, true) {
            open.file.write_all(b"\n")?;
        }
        open.file.write_all(line)?;
        open.file.flush()?;
        open.size += line.len() as u64;
        open.torn = false;
        Ok(())
    }

    /// Gives the file another name and removes what is too old or too much.
    fn turn(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        self.open = None;
        // Names sort by age whatever the clock does.
        let next = self.turned + SignedDuration::from_millis(1);
        self.turned = free_time(path, next.max(Timestamp::now()));
        std::fs::rename(path, turned(path, self.turned))?;
        let present = backups(path)?;
        for old in superfluous(&present, self.limits, SystemTime::now()) {
            if let Err(error) = std::fs::remove_file(old) {
                tracing::warn!(path = %old.display(), %error, "an old audit log stays");
            }
        }
        Ok(())
    }
}

fn open(path: Option<&Path>) -> io::Result<Open> {
    let Some(path) = path else {
        return Ok(Open {
            file: Box::new(io::stdout()),
            size: 0,
            torn: false,
        });
    };
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).read(true).mode(0o600);
    let file = file.open(path)?;
    let size = file.metadata()?.len();
    Ok(Open {
        torn: is_torn(&file, size)?,
        file: Box::new(file),
        size,
    })
}

fn is_torn(file: &File, size: u64) -> io::Result<bool> {
    let mut last = *b"\n";
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok(last != *b"\n")
}

/// The first moment from `now` on of which no turned file has the name.
fn free_time(path: &Path, mut now: Timestamp) -> Timestamp {
    while turned(path, now).exists() {
        now += SignedDuration::from_millis(1);
    }
    now
}

/// `audit.log` becomes `audit-2026-01-02T03-04-05.678.log`, in UTC.
fn turned(path: &Path, now: Timestamp) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let time = now.strftime("%Y-%m-%dT%H-%M-%S%.3f");
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{time}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{time}"),
    };
    path.with_file_name(name)
}

/// The turned files of a log with their times, the newest first.
fn backups(path: &Path) -> io::Result<Vec<(PathBuf, SystemTime)>> {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if is_turned(path, &entry.path()) {
            found.push((entry.path(), entry.metadata()?.modified()?));
        }
    }
    found.sort_by(|one, other| other.0.cmp(&one.0));
    Ok(found)
}

/// Whether `other` is a turned file of the log at `path`, by its name.
fn is_turned(path: &Path, other: &Path) -> bool {
    let text = |part: Option<&std::ffi::OsStr>| {
        let part = part.unwrap_or_default();
        part.to_string_lossy().into_owned()
    };
    let (stem, name) = (text(path.file_stem()), text(other.file_name()));
    let time = name.strip_prefix(&format!("{stem}-")).unwrap_or_default();
    let length = turned(Path::new("x"), Timestamp::UNIX_EPOCH)
        .as_os_str()
        .len()
        - "x-".len();
    let ending = match text(path.extension()) {
        none if none.is_empty() => none,
        extension => format!(".{extension}"),
    };
    let day = time.get(..10).map(str::parse::<jiff::civil::Date>);
    time.get(length..) == Some(&ending) && matches!(day, Some(Ok(_)))
}

/// What is to be removed of `present`, the newest first.
fn superfluous(present: &[(PathBuf, SystemTime)], limits: Limits, now: SystemTime) -> Vec<&Path> {
    let kept = match limits.backups {
        0 => usize::MAX,
        kept => kept,
    };
    let too_old = |time: SystemTime| {
        let age = now.duration_since(time).unwrap_or_default();
        !limits.age.is_zero() && age > limits.age
    };
    let each = present.iter().enumerate();
    let each = each.filter(|(index, (_, time))| *index >= kept || too_old(*time));
    each.map(|(_, (path, _))| path.as_path()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIMITS: Limits = Limits {
        size: 20,
        age: Duration::ZERO,
        backups: 2,
    };

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_full_file_is_turned_over_and_the_oldest_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let others = ["audit-of-books.log", "audit-2026-01-02T03-04-05.678.txt"];
        let others = others.map(|name| folder.path().join(name));
        for other in &others {
            std::fs::write(other, "mine").unwrap();
        }
        let mut log = LogFile::open(&path, LIMITS).unwrap();
        for number in 0..10 {
            // Two of them fit into a file.
            log.append(format!("line {number:04}\n").as_bytes())
                .unwrap();
        }
        assert_eq!(read(&path), "line 0008\nline 0009\n");
        let kept = backups(&path).unwrap();
        let kept: Vec<_> = kept.iter().map(|kept| read(&kept.0)).collect();
        assert_eq!(kept, ["line 0006\nline 0007\n", "line 0004\nline 0005\n"]);
        for other in &others {
            assert!(other.exists(), "another file was taken for a turned one");
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_old_or_too_much_goes() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let aged = |days: u32| (PathBuf::from(format!("{days}")), now - day * days);
        let present = [1, 2, 30].map(aged);
        let gone = |backups, age| {
            let limits = Limits {
                backups,
                age,
                ..LIMITS
            };
            superfluous(&present, limits, now)
        };
        assert_eq!(gone(1, Duration::ZERO), [Path::new("2"), Path::new("30")]);
        assert_eq!(gone(0, day * 20), [Path::new("30")]);
        assert!(gone(0, Duration::ZERO).is_empty());
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, "{\"half").unwrap();
        let mut log = LogFile::open(&path, LIMITS).unwrap();
        log.append(b"{}\n").unwrap();
        log.append(b"{}\n").unwrap();
        assert_eq!(read(&path), "{\"half\n{}\n{}\n");
    }
}
