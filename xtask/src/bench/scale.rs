//! A control plane alone under the objects of a large cluster: 5,000 nodes and 150,000 pods.
//!
//! It is a process of its own with an empty store, beside the cluster's, in the same namespace; no
//! daemon serves its nodes, but their leases are renewed as usual. There is no peer: nothing else of its kind starts here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use naru_tests::support::{Cluster, run, wait};

use super::daemon::Daemon;
use super::last_number;
use super::report::Report;
use super::series::{Better, Case};

const NODES: &str = "5000";
const PODS: &str = "150000";
const ADDRESS: &str = "127.0.0.1:7443";
const MIB: f64 = 1048576.0;

/// Everything, in the order in which a cluster grows.
pub(super) fn measure(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let data = cluster.layout.member("control1").join("scale");
    fs::remove_dir_all(&data).ok();
    fs::create_dir_all(&data)?;
    let plane = Plane::start(cluster, data.clone())?;
    // The first start makes keys and certificates; the second is what a restart is.
    let empty = plane.restart()?;
    report.add(lower("ready_with_an_empty_store", "ms", empty.1));
    let plane = empty.0;
    plane.load("fill", &["--sort", "nodes", "--count", NODES])?;
    let heartbeats = plane.heartbeats()?;
    let begin = Instant::now();
    plane.load(
        "fill",
        &["--sort", "pods", "--count", PODS, "--nodes", NODES],
    )?;
    let rate = PODS.parse::<f64>()? / begin.elapsed().as_secs_f64();
    report.add(Case::alone("pods_created", "1/s", Better::Higher, &[rate]));
    for case in plane.figures("filled")? {
        report.add(case);
    }
    drop(heartbeats);
    let (plane, full) = plane.restart()?;
    report.add(lower("ready_with_150000_pods", "ms", full));
    let heartbeats = plane.heartbeats()?;
    for case in plane.figures("restarted")? {
        report.add(case);
    }
    drop(heartbeats);
    drop(plane);
    fs::remove_dir_all(&data).context("remove the store")
}

/// A process that ends when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A running control plane.
struct Plane<'a> {
    cluster: &'a Cluster,
    data: PathBuf,
    process: Running,
}

impl<'a> Plane<'a> {
    fn start(cluster: &'a Cluster, data: PathBuf) -> Result<Self> {
        let mut command = cluster.inside("control1");
        command
            .arg(cluster.layout.program("naru-control")?)
            .arg("serve");
        command.arg("--data-dir").arg(&data);
        command.args(["--listen", ADDRESS, "--advertise-address", "127.0.0.1"]);
        // The default has room for 256 nodes.
        command.args([
            "--pod-cidr",
            "10.0.0.0/8",
            "--service-cidr",
            "172.16.0.0/16",
        ]);
        let log = fs::File::create(cluster.layout.log("scale"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = child.spawn().context("start naru-control")?;
        let plane = Self {
            cluster,
            data,
            process: Running(child),
        };
        wait::holds("naru-control", Duration::from_secs(60), || {
            plane
                .load("list", &["--path", "/readyz", "--rounds", "1"])
                .is_ok()
        })?;
        Ok(plane)
    }

    /// Ends it and starts it again; the milliseconds until it was ready, to the nearest look.
    fn restart(self) -> Result<(Self, f64)> {
        let (cluster, data) = (self.cluster, self.data.clone());
        drop(self);
        let begin = Instant::now();
        let plane = Self::start(cluster, data)?;
        Ok((plane, begin.elapsed().as_secs_f64() * 1000.0))
    }

    fn load(&self, task: &str, args: &[&str]) -> Result<f64> {
        let mut command = self.command(task)?;
        last_number(&run::checked(command.args(args))?)
    }

    /// Keeps the nodes ready; returns when all of them are.
    fn heartbeats(&self) -> Result<Running> {
        let mut command = self.command("heartbeats")?;
        let piped = command.args(["--nodes", NODES]).stdout(Stdio::piped());
        let mut running = Running(piped.stdin(Stdio::null()).spawn()?);
        let stdout = running.0.stdout.take().context("stdout is piped")?;
        let first = BufReader::new(stdout).lines().next().transpose()?;
        ensure!(first.as_deref() == Some("started"), "heartbeats: {first:?}");
        Ok(running)
    }

    fn command(&self, task: &str) -> Result<Command> {
        let mut command = self.cluster.inside("control1");
        command
            .arg(self.cluster.layout.program("naru-load")?)
            .arg(task);
        let kubeconfig = self.data.join("admin.kubeconfig");
        command.arg("--kubeconfig").arg(kubeconfig);
        Ok(command)
    }

    fn figures(&self, when: &str) -> Result<[Case; 3]> {
        let daemon = Daemon::of_process(self.process.0.id())?;
        let list = ["--path", "/api/v1/pods", "--rounds", "3"];
        let reads = ["--p99", "--clients", "8", "--seconds", "2"];
        let memory = daemon.memory()? / MIB;
        Ok([
            lower(&format!("memory_{when}"), "MiB", memory),
            lower(
                &format!("list_all_pods_{when}"),
                "ms",
                self.load("list", &list)?,
            ),
            lower(
                &format!("read_p99_{when}"),
                "ms",
                self.load("reads", &reads)?,
            ),
        ])
    }
}

fn lower(case: &str, unit: &str, figure: f64) -> Case {
    Case::alone(case, unit, Better::Lower, &[figure])
}
