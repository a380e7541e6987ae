//! Long-lived processes: started into a namespace and a cgroup, recorded, ended by record.
//!
//! A record is a process id and its start time, so that an id which the kernel has given to another
//! process since is never signalled.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::wait;

const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A process that the fixture started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it is, for example `naru-node@node1`; also the name of its log.
    pub name: String,
    /// Process id.
    pub pid: i32,
    /// Clock ticks between boot and the start of the process (proc(5), stat field 22).
    pub started: u64,
    /// When the program's file was made, in nanoseconds since 1970; 0 for one found on the path.
    pub built: u64,
}

/// What to start and where.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What it is, for example `naru-node@node1`.
    pub name: String,
    /// cgroup2 directory that it joins.
    pub cgroup: PathBuf,
    /// Namespace that it enters; the host's when absent.
    pub netns: Option<PathBuf>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Environment besides the inherited one.
    pub env: Vec<(String, OsString)>,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

impl Launch {
    /// Starts it, detached from the terminal.
    ///
    /// # Errors
    /// When it can't be started at all; a program that exits at once is not noticed here.
    pub fn start(&self) -> Result<Process> {
        let child = self
            .prepare()?
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        let pid = child.id().cast_signed();
        let started = start_time(pid).ok_or_else(|| anyhow!("{} ended at once", self.name))?;
        Ok(Process {
            name: self.name.clone(),
            pid,
            started,
            built: self.built(),
        })
    }

    /// When the file of the program was made, in nanoseconds since 1970.
    pub fn built(&self) -> u64 {
        let modified = fs::metadata(&self.command[0])
            .and_then(|m| m.modified())
            .ok();
        let since = modified.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }

    fn prepare(&self) -> Result<Command> {
        fs::create_dir_all(self.log.parent().unwrap_or(Path::new("/")))?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = enter(&self.cgroup, self.netns.as_deref(), true);
        command
            .args(&self.command)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }
}

/// A command that joins `cgroup` and `netns`, then becomes the program given as further arguments.
///
/// The process id stays the same throughout. `nsenter --net=`, because `ip netns exec` mounts a new
/// /sys, in which cgroups and the bpffs are gone.
pub fn enter(cgroup: &Path, netns: Option<&Path>, detach: bool) -> Command {
    let session = if detach { "setsid " } else { "" };
    let into = if netns.is_some() {
        "nsenter --net=\"$n\" -- "
    } else {
        ""
    };
    let script = format!(
        "echo $$ >\"$1/cgroup.procs\" || exit 125; n=$2; shift 2; exec {session}{into}\"$@\""
    );
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(cgroup)
        .arg(netns.unwrap_or(Path::new("-")));
    command
}

impl Process {
    /// Whether this very process still runs.
    pub fn alive(&self) -> bool {
        reap(self.pid);
        start_time(self.pid) == Some(self.started)
    }

    /// Sends a signal, if the process still runs.
    pub fn signal(&self, signal: Signal) {
        if self.alive() {
            kill(Pid::from_raw(self.pid), signal).ok();
        }
    }

    /// Kills it without notice and waits for the end.
    ///
    /// # Errors
    /// When the kernel does not end it within ten seconds.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        wait::holds(&format!("the end of {}", self.name), KILL_LIMIT, || {
            !self.alive()
        })
    }
}

/// Takes the exit status of a child; does nothing for a process that is no child of ours.
fn reap(pid: i32) {
    waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).ok();
}

/// Start time of a running process, `None` for none and for one that has ended but for its parent.
fn start_time(pid: i32) -> Option<u64> {
    parse_start(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name, in parentheses, may hold blanks: count fields from behind it.
///
/// A killed process is a zombie as soon as its first thread is gone; the other threads still hold
/// its sockets for a moment, and a peer that connects then talks to the dead.
fn parse_start(stat: &str) -> Option<u64> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let threads: u64 = field(20)?.parse().ok()?;
    let ended = match field(3)? {
        "Z" => threads <= 1,
        state => state == "X",
    };
    (!ended).then(|| field(22)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_field_22_whatever_the_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4 0 0 0 0 1 2 0 0 20 0 1 0 4711 100 5";
        assert_eq!(parse_start(stat), Some(4711));
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let stat = "7 (x) Z 1 7 7 0 -1 4 0 0 0 0 1 2 0 0 20 0 1 0 4711 100 5";
        assert_eq!(parse_start(stat), None);
    }

    #[test]
    fn a_zombie_whose_threads_still_run_has_not_ended() {
        let stat = "7 (x) Z 1 7 7 0 -1 4 0 0 0 0 1 2 0 0 20 0 5 0 4711 100 5";
        assert_eq!(parse_start(stat), Some(4711));
    }

    #[test]
    fn a_recycled_id_is_not_ours() {
        let me = std::process::id().cast_signed();
        let started = start_time(me).unwrap();
        let other = Process {
            name: "x".into(),
            pid: me,
            started: started + 1,
            built: 0,
        };
        assert!(!other.alive());
    }
}
