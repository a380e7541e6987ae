//! Reading a container's log: the chosen part first, then, if asked, what comes until its end.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use naru_cri::{Cri, v1};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;

use super::crilog;
use super::options::LogOptions;
use crate::pods::rotation::rotations;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How many bytes are sent at once.
const CHUNK: usize = 32 << 10;
const BLOCK: u64 = 64 << 10;

/// A log that is being read.
#[derive(Debug)]
pub struct LogReader {
    /// The present file; older ones lie beside it.
    pub path: PathBuf,
    /// What is wanted.
    pub options: LogOptions,
    /// The container, to learn of its end while following.
    pub container: String,
    /// The runtime.
    pub cri: Cri,
}

/// Turns entries into the bytes that are asked for.
#[derive(Debug)]
struct Filter {
    options: LogOptions,
    left: usize,
    fresh_line: bool,
}

impl Filter {
    fn new(options: LogOptions) -> Self {
        Self {
            left: options.limit.unwrap_or(usize::MAX),
            options,
            fresh_line: true,
        }
    }

    /// Appends what is wanted of one line of the file; returns whether more may be wanted.
    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(entry) = crilog::parse(line) else {
            return self.left > 0;
        };
        let other = self
            .options
            .stream
            .is_some_and(|stream| stream.as_bytes() != entry.stream);
        let since = self.options.since;
        let early = since.is_some_and(|since| entry.timestamp().is_some_and(|time| time < since));
        if other || early {
            return self.left > 0;
        }
        if self.options.timestamps && self.fresh_line {
            self.push(entry.time, out);
            self.push(b" ", out);
        }
        self.fresh_line = !entry.partial;
        self.push(entry.text, out);
        self.left > 0
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let length = bytes.len().min(self.left);
        out.extend_from_slice(&bytes[..length]);
        self.left -= length;
    }
}

impl LogReader {
    /// Sends the log until its end, the limit, or the reader's leave.
    pub async fn run(self, to: mpsc::Sender<std::io::Result<Bytes>>) {
        if let Err(error) = self.read(&to).await {
            tracing::warn!(log = %self.path.display(), %error, "log not read");
            let _ = to.send(Err(error)).await;
        }
    }

    async fn read(&self, to: &mpsc::Sender<std::io::Result<Bytes>>) -> std::io::Result<()> {
        let mut files = rotations(&self.path);
        files.push(self.path.clone());
        let (first, offset) = match self.options.tail {
            Some(lines) => tail_start(&files, lines)?,
            None => (0, 0),
        };
        let mut filter = Filter::new(self.options.clone());
        for (index, path) in files.iter().enumerate().skip(first) {
            let offset = if index == first { offset } else { 0 };
            let last = index + 1 == files.len();
            let follow = last && self.options.follow;
            if !self
                .read_file(path, offset, follow, &mut filter, to)
                .await?
            {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether there may be more to send.
    async fn read_file(
        &self,
        path: &Path,
        offset: u64,
        follow: bool,
        filter: &mut Filter,
        to: &mpsc::Sender<std::io::Result<Bytes>>,
    ) -> std::io::Result<bool> {
        let Some(mut lines) = open(path, offset).await? else {
            return Ok(true);
        };
        let (mut line, mut out) = (Vec::new(), Vec::new());
        let (mut ending, mut replaced) = (false, false);
        loop {
            let length = lines.read_until(b'\n', &mut line).await?;
            let whole = line.ends_with(b"\n");
            let more = if whole {
                filter.take(&line, &mut out)
            } else {
                true
            };
            if whole {
                line.clear();
            }
            let pause = length == 0 || !more;
            if (pause || out.len() >= CHUNK)
                && !out.is_empty()
                && to
                    .send(Ok(Bytes::from(std::mem::take(&mut out))))
                    .await
                    .is_err()
            {
                return Ok(false);
            }
            if !more {
                return Ok(false);
            }
            if length > 0 {
                continue;
            }
            if !follow || ending {
                return Ok(true);
            }
            if replaced {
                match open(path, 0).await? {
                    Some(next) => (lines, replaced) = (next, false),
                    None => return Ok(true),
                }
                continue;
            }
            // What was written between the last read and the rotation is still in the old file.
            replaced = is_replaced(path, lines.get_ref()).await;
            if replaced {
                continue;
            }
            // Once the container has ended one more read finds its last words.
            ending = !self.is_running().await;
            tokio::select! {
                () = to.closed() => return Ok(false),
                () = tokio::time::sleep(POLL), if !ending => {}
                () = std::future::ready(()), if ending => {}
            }
        }
    }

    async fn is_running(&self) -> bool {
        let request = v1::ContainerStatusRequest {
            container_id: self.container.clone(),
            verbose: false,
        };
        let status = self.cri.container_status(request).await;
        let status = status
            .ok()
            .and_then(|response| response.status)
            .unwrap_or_default();
        !status.id.is_empty() && status.state() == v1::ContainerState::ContainerRunning
    }
}

async fn open(path: &Path, offset: u64) -> std::io::Result<Option<BufReader<File>>> {
    use tokio::io::AsyncSeekExt as _;
    let mut file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset)).await?;
    Ok(Some(BufReader::with_capacity(CHUNK, file)))
}

/// A rotation has put another file under the name.
async fn is_replaced(path: &Path, open: &File) -> bool {
    let (now, then) = (tokio::fs::metadata(path).await, open.metadata().await);
    matches!((now, then), (Ok(now), Ok(then)) if now.ino() != then.ino())
}

/// Which file and offset to start from so that `lines` lines follow.
fn tail_start(files: &[PathBuf], lines: usize) -> std::io::Result<(usize, u64)> {
    let last = files.len().saturating_sub(1);
    if lines == 0 {
        let end = std::fs::metadata(&files[last])
            .map(|meta| meta.len())
            .unwrap_or(0);
        return Ok((last, end));
    }
    let mut missing = lines;
    for (index, path) in files.iter().enumerate().rev() {
        match tail_offset(path, &mut missing)? {
            Some(offset) => return Ok((index, offset)),
            None => continue,
        }
    }
    Ok((0, 0))
}

/// The offset from which `missing` whole lines follow; `None`, with `missing` lowered, when the
/// file has fewer. Parts of a line count as no line of their own.
fn tail_offset(path: &Path, missing: &mut usize) -> std::io::Result<Option<u64>> {
    let Ok(mut file) = std::fs::File::open(path) else {
        return Ok(None);
    };
    let mut end = file.metadata()?.len();
    let mut tail: Vec<u8> = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        block.append(&mut tail);
        tail = block;
        end = start;
        if let Some(offset) = nth_last_line(&tail, *missing, start == 0) {
            return Ok(Some(start + offset as u64));
        }
    }
    *missing = missing.saturating_sub(whole_lines(&tail));
    Ok(None)
}

fn whole_lines(bytes: &[u8]) -> usize {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| crilog::parse(line).is_some_and(|entry| !entry.partial))
        .count()
}

/// Where the n-th whole line from the end begins, its leading parts included.
fn nth_last_line(bytes: &[u8], n: usize, from_start: bool) -> Option<usize> {
    let mut starts = vec![0];
    starts.extend(
        bytes
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(at, _)| at + 1),
    );
    starts.retain(|start| *start < bytes.len());
    let line_at = |start: usize| {
        let end = bytes[start..].iter().position(|b| *b == b'\n');
        &bytes[start..end.map_or(bytes.len(), |end| start + end + 1)]
    };
    let is_part = |start: usize| crilog::parse(line_at(start)).is_none_or(|entry| entry.partial);
    let mut seen = 0;
    // The first start may lie inside a line unless the block begins with the file.
    let usable = if from_start {
        &starts[..]
    } else {
        &starts[1.min(starts.len())..]
    };
    for (index, start) in usable.iter().enumerate().rev() {
        if is_part(*start) {
            continue;
        }
        seen += 1;
        if seen == n {
            let mut first = index;
            while first > 0 && is_part(usable[first - 1]) {
                first -= 1;
            }
            let complete = first > 0 || from_start;
            return complete.then(|| usable[first]);
        }
    }
    None
}

#[cfg(test)]
mod tests;
