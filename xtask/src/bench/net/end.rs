//! One end of a measurement: a network namespace and cgroups in which `landing` runs.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use naru_tests::support::{run, wait};

use super::first::{self, Times};
use super::place::Place;

/// The core that both ends share.
const CORE: &str = "1";

/// Port of every measuring server.
pub(super) const PORT: u16 = 9000;

/// A network namespace, and where its processes run.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// `landing`, as the host sees it.
    pub(super) program: PathBuf,
    /// The namespace's file.
    pub(super) netns: PathBuf,
    /// The cgroups that its processes join.
    pub(super) place: Place,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Exchanges of one byte on one connection.
    RequestResponse,
    /// Connect, exchange one byte, close; the server first.
    Connect,
    /// The same, but the client closes with a reset. For peers with nf_conntrack, where a port that
    /// comes again while the kernel still remembers its last connection may have to wait: that
    /// would flatter us.
    Reset,
    /// Bytes one way.
    Stream,
}

impl Mode {
    /// Those that any two ends are measured with.
    pub(super) const ALL: [Self; 3] = [Self::RequestResponse, Self::Connect, Self::Stream];

    /// As `landing measure --mode` and the names of cases spell it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RequestResponse => "rr",
            Self::Connect => "crr",
            Self::Reset => "crr-reset",
            Self::Stream => "stream",
        }
    }

    /// Unit of a run's figure.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Stream => "B/s",
            _ => "1/s",
        }
    }
}

/// A measuring server; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; either way it is reaped.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl End {
    /// Starts a server here and waits until it accepts on loopback.
    ///
    /// # Errors
    /// When it does not accept within ten seconds.
    pub(super) fn serve(&self) -> Result<Server> {
        let mut command = self.command();
        command.args(["measure-server", "--port", &PORT.to_string()]);
        let server = Server(
            command
                .stdin(Stdio::null())
                .spawn()
                .context("start the server")?,
        );
        let local = format!("127.0.0.1:{PORT}");
        wait::holds("the measuring server", Duration::from_secs(10), || {
            self.measure(&local, Mode::RequestResponse, 0.001).is_ok()
        })?;
        Ok(server)
    }

    /// The rate of one run from here to `target` (`address:port`), in the mode's unit.
    ///
    /// # Errors
    /// When the client can't connect or an exchange fails.
    pub(super) fn measure(&self, target: &str, mode: Mode, seconds: f64) -> Result<f64> {
        let mut command = self.command();
        command.args(["measure", "--target", target, "--mode", mode.name()]);
        command.args(["--seconds", &seconds.to_string()]);
        let printed = run::checked(&mut command)?;
        printed
            .trim()
            .parse()
            .with_context(|| format!("rate {printed:?}"))
    }

    /// What the first packets of flows to `target` take, sent for so many seconds.
    ///
    /// # Errors
    /// When a connect fails.
    pub(super) fn first(&self, target: &str, seconds: f64) -> Result<Times> {
        let mut command = self.command();
        command.args(["measure", "--target", target, "--mode", "first"]);
        command.args(["--seconds", &seconds.to_string()]);
        first::read(&run::checked(&mut command)?)
    }

    /// `landing` in this place, pinned to the common core; the process id is the program's own.
    fn command(&self) -> Command {
        let script = "n=$1 c=$2; shift 2; while [ \"$1\" != -- ]; do echo $$ >\"$1/cgroup.procs\" || exit 125; \
                      shift; done; shift; exec nsenter --net=\"$n\" -- taskset -c \"$c\" \"$@\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(&self.netns)
            .arg(CORE);
        command.args(&self.place.0).arg("--").arg(&self.program);
        command
    }
}
