//! The peer of the store: etcd of the distribution, one member, on the disk of the control plane.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use naru_tests::support::{Cluster, wait};

use super::load;

const CLIENTS: &str = "http://127.0.0.1:23790";
const PEERS: &str = "http://127.0.0.1:23800";

/// A running etcd with an empty store; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Etcd<'a> {
    cluster: &'a Cluster,
    child: Child,
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl<'a> Etcd<'a> {
    /// Starts etcd and waits until it takes a put.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn start(cluster: &'a Cluster) -> Result<Self> {
        let data = cluster.layout.member("control1").join("etcd");
        fs::remove_dir_all(&data).ok();
        let mut command = cluster.inside("control1");
        command.arg(cluster.layout.tool("etcd")).arg("--data-dir");
        command
            .arg(&data)
            .args(["--logger", "zap", "--log-level", "error"]);
        command.args([
            "--listen-client-urls",
            CLIENTS,
            "--advertise-client-urls",
            CLIENTS,
        ]);
        command.args([
            "--listen-peer-urls",
            PEERS,
            "--initial-advertise-peer-urls",
            PEERS,
        ]);
        command
            .arg("--initial-cluster")
            .arg(format!("default={PEERS}"));
        let log = fs::File::create(cluster.layout.log("etcd"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start etcd")?;
        let etcd = Self { cluster, child };
        wait::holds("etcd", Duration::from_secs(15), || {
            etcd.puts(&["--seconds", "0.01"]).is_ok()
        })?;
        Ok(etcd)
    }

    /// Puts per second.
    ///
    /// # Errors
    /// When one fails.
    pub(super) fn puts(&self, args: &[&str]) -> Result<f64> {
        load::run_etcd(self.cluster, CLIENTS, args)
    }
}
