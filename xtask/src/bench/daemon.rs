//! What a daemon costs, read from /proc.

use std::fs;

use anyhow::{Context, Result};
use naru_tests::support::Cluster;

/// Clock ticks a second in /proc (USER_HZ, the same on every architecture of ours).
const TICKS: f64 = 100.0;

/// A running daemon of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Daemon {
    pid: i32,
}

impl Daemon {
    /// By the name in the cluster's record.
    ///
    /// # Errors
    /// When it does not run.
    pub(super) fn of(cluster: &Cluster, name: &str) -> Result<Self> {
        let process = cluster.process(name);
        let pid = process.with_context(|| format!("{name} does not run"))?.pid;
        Ok(Self { pid })
    }

    /// By its number.
    ///
    /// # Errors
    /// When no process can have it.
    pub(super) fn of_process(pid: u32) -> Result<Self> {
        Ok(Self {
            pid: pid.try_into()?,
        })
    }

    /// Resident memory in bytes (proc(5), VmRSS).
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn memory(self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        resident(&status).context("no VmRSS")
    }

    /// What the kernel tells of each open file (proc(5), fdinfo).
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn descriptors(self) -> Result<Vec<String>> {
        let files = fs::read_dir(format!("/proc/{}/fdinfo", self.pid))?;
        let files: Vec<_> = files.collect::<std::io::Result<_>>()?;
        // One that was closed meanwhile is none.
        let texts = files.iter().map(|file| fs::read_to_string(file.path()));
        Ok(texts.flatten().collect())
    }

    /// Processor time so far, in seconds, of all its threads.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn cpu(self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        Ok(ticks(&stat).context("a short stat line")? / TICKS)
    }
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// utime and stime, fields 14 and 15; the name in field 2 may hold blanks and brackets.
fn ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_shifts_nothing() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0";
        assert_eq!(ticks(stat), Some(42.0));
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2 kB\n"), Some(2048.0));
    }
}
