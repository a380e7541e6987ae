//! What a connection costs in our program at the socket, counted by the kernel.
//!
//! Rates of connections vary by a tenth and more on a shared machine, which hides whether a lookup
//! among ten thousand services takes longer than among one. The kernel's own count of the program's
//! time (`kernel.bpf_stats_enabled`) does not.

use std::fs;

use anyhow::{Context, Result};
use naru_tests::support::Cluster;
use naru_tests::support::daemons::node_process;

use crate::bench::daemon::Daemon;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` of linux/bpf.h.
const SOCKET_ADDRESS: u64 = 18;

/// Counting, until dropped.
pub(super) struct Counting {
    daemon: Daemon,
    before: String,
}

impl Counting {
    /// Counts the programs of the first node.
    ///
    /// # Errors
    /// When the kernel does not count, or the node's daemon does not run.
    pub(super) fn start(cluster: &Cluster) -> Result<Self> {
        let daemon = Daemon::of(cluster, &node_process(1))?;
        let before = fs::read_to_string(SWITCH).context(SWITCH)?;
        fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Self { daemon, before })
    }

    /// Nanoseconds of each run of the socket program that ran most often during `work`: with a
    /// client that does nothing but connect, the one at connect(2).
    ///
    /// # Errors
    /// When `work` fails or no program ran.
    pub(super) fn of_each(&self, work: impl FnOnce() -> Result<f64>) -> Result<f64> {
        let before = self.programs()?;
        work()?;
        let after = self.programs()?;
        let ran = after.iter().filter_map(|after| {
            let before = before.iter().find(|before| before.id == after.id)?;
            Some((after.runs - before.runs, after.ns - before.ns))
        });
        let (runs, ns) = ran.max().context("the daemon holds no socket program")?;
        anyhow::ensure!(runs > 0, "no socket program ran");
        Ok(ns as f64 / runs as f64)
    }

    fn programs(&self) -> Result<Vec<Program>> {
        let files = self.daemon.descriptors()?;
        Ok(files.iter().filter_map(|text| program(text)).collect())
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// A socket program's count.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    id: u64,
    runs: u64,
    ns: u64,
}

/// From the facts of a descriptor (proc(5), fdinfo); none if it is something else.
fn program(text: &str) -> Option<Program> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let is_ours = field("prog_type:")? == SOCKET_ADDRESS;
    let found = Program {
        id: field("prog_id:")?,
        runs: field("run_cnt:")?,
        ns: field("run_time_ns:")?,
    };
    is_ours.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_program_is_told_from_other_descriptors() {
        let text = "pos:\t0\nprog_type:\t18\nprog_id:\t7\nrun_time_ns:\t900\nrun_cnt:\t3\n";
        assert_eq!(
            program(text),
            Some(Program {
                id: 7,
                runs: 3,
                ns: 900
            })
        );
        assert_eq!(program(&text.replace("18", "3")), None);
        assert_eq!(program("pos:\t0\nflags:\t02\n"), None);
    }
}
