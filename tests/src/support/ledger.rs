//! The record of a cluster, `cluster.json`: written whenever something is started.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::addresses::Families;
use super::door::Ports;
use super::process::Process;
use super::routing::Routing;

/// What runs, and where to find it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ledger {
    /// The cluster's name.
    pub cluster: String,
    /// Number of nodes.
    pub nodes: u8,
    /// Its address families.
    #[serde(default)]
    pub families: Families,
    /// How its nodes' pods reach each other.
    #[serde(default)]
    pub routing: Routing,
    /// Credentials for use from the host.
    pub kubeconfig: PathBuf,
    /// Ports of the front door on the host's loopback.
    pub door: Ports,
    /// Every process, in order of start.
    pub processes: Vec<Process>,
}

impl Ledger {
    /// Reads the record; `None` when there is none.
    ///
    /// # Errors
    /// When the file can't be read or understood.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(
                serde_json::from_str(&text).with_context(|| path.display().to_string())?,
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, serde_json::to_string_pretty(self)? + "\n")?;
        fs::rename(&fresh, path).with_context(|| path.display().to_string())
    }

    /// The running process called `name`.
    pub fn running(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|p| p.name == name && p.alive())
    }

    /// Records a started process in place of an ended one of the same name.
    pub fn record(&mut self, process: Process) {
        self.processes.retain(|p| p.name != process.name);
        self.processes.push(process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_process_replaces_its_record() {
        let mut ledger = Ledger {
            cluster: "dev".into(),
            nodes: 1,
            families: Families::Both,
            routing: Routing::Native,
            kubeconfig: "/k".into(),
            door: Ports { api: 1, ingress: 2 },
            processes: Vec::new(),
        };
        for pid in [5, 6] {
            ledger.record(Process {
                name: "a".into(),
                pid,
                started: 1,
                built: 0,
            });
        }
        assert_eq!(ledger.processes.len(), 1);
        assert_eq!(ledger.processes[0].pid, 6);
    }
}
