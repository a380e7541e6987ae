//! What a container left behind for its status: its termination message, else the end of its log.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use super::containers;
use super::names::{Dirs, PodId};
use super::observed::Container;

/// Longest message in bytes.
const MAX: usize = 4096;
/// Longest message taken from a log, in bytes and lines.
const LOG_MAX: usize = 2048;
const LOG_LINES: usize = 80;

/// The message of an ended container; `None` when it left none.
pub fn read(dirs: &Dirs, id: &PodId, pod: &Pod, container: &Container) -> Option<String> {
    let exit = container.exit()?;
    let words = tail(
        &dirs.termination(&id.uid, &container.name, container.attempt),
        MAX,
    );
    if !words.is_empty() {
        return Some(words);
    }
    let described = containers::find(pod, &container.name)?;
    let policy = described.termination_message_policy.as_deref();
    if policy != Some("FallbackToLogsOnError") || exit.code == 0 {
        return None;
    }
    let log = tail(&dirs.log(id, &container.name, container.attempt), LOG_MAX);
    Some(last_lines(&log)).filter(|text| !text.is_empty())
}

fn tail(path: &Path, max: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(max);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

/// The messages of a log's last lines, without time and stream.
fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log
        .lines()
        .filter_map(|line| line.splitn(4, ' ').nth(3))
        .collect();
    let start = lines.len().saturating_sub(LOG_LINES);
    lines[start..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_lose_their_prefix() {
        let log = "2026-01-01T00:00:00Z stderr F first\n2026-01-01T00:00:00Z stdout F second one\n";
        assert_eq!(last_lines(log), "first\nsecond one\n");
    }
}
