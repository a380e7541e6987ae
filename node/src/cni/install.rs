//! Puts plugin and network configuration where the container runtime looks for them.
//!
//! The configuration appears when pods can be attached, and not before: a runtime that finds one
//! takes the node's network for ready. Neither is taken away when the daemon ends, because pods
//! outlive it; whoever removes the daemon for good removes the two files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{PartResult, Shared};

/// Sorts before the files of other networks, of which a runtime takes the first.
const CONFIG: &str = "05-naru.conflist";
const PLUGIN: &str = "naru-cni";
/// How soon the network is looked for while it is not open.
const OPENING: Duration = Duration::from_millis(100);
/// How often it is looked whether the files are still there.
const CHECK: Duration = Duration::from_secs(30);

/// A file that could not be put in its place.
#[derive(Debug, thiserror::Error)]
#[error("cannot install {}", path.display())]
pub struct InstallError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Keeps the files in place until `shutdown`; does nothing where no directories are given.
///
/// # Errors
/// When a file cannot be written.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let config = &shared.config;
    loop {
        let open = shared
            .network
            .get()
            .is_some_and(|network| !network.ipam.ranges().is_empty());
        if open {
            let installed = install(config);
            let fault = installed
                .as_ref()
                .err()
                .map(|error| crate::network::chain(error));
            shared.health.set("cni-install", fault);
            installed?;
        }
        let idle = config.cni_conf_dir.is_none() && config.cni_bin_dir.is_none();
        let pause = match (idle, open) {
            (true, _) => {
                shutdown.cancelled().await;
                return Ok(());
            }
            (false, false) => OPENING,
            (false, true) => CHECK,
        };
        if tokio::time::timeout(pause, shutdown.cancelled())
            .await
            .is_ok()
        {
            return Ok(());
        }
    }
}

/// The plugin first: a configuration without it would fail every pod.
fn install(config: &crate::Config) -> Result<(), InstallError> {
    if let Some(dir) = &config.cni_bin_dir {
        let own = std::env::current_exe().map(|path| path.with_file_name(PLUGIN));
        let own = own.map_err(|source| failed(Path::new(PLUGIN), source))?;
        let plugin = fs::read(&own).map_err(|source| failed(&own, source))?;
        put(&dir.join(PLUGIN), &plugin, 0o755)?;
    }
    if let Some(dir) = &config.cni_conf_dir {
        let list = conflist(&config.run_dir.join("cni.sock"));
        put(&dir.join(CONFIG), list.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn conflist(socket: &Path) -> String {
    let plugin = json!({"type": PLUGIN, "socket": socket});
    let list = json!({"cniVersion": "1.1.0", "name": "naru", "plugins": [plugin]});
    format!("{list:#}\n")
}

fn failed(path: &Path, source: io::Error) -> InstallError {
    InstallError {
        path: path.to_owned(),
        source,
    }
}

/// Replaces a file in one step, unless it is as it should be. A plugin that runs keeps its old file.
fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), InstallError> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let aside = path.with_extension("naru-new");
    let write = || {
        fs::write(&aside, content)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(mode))?;
        fs::rename(&aside, path)
    };
    write().map_err(|source| failed(path, source))?;
    tracing::info!(path = %path.display(), "installed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_the_plugin_takes() {
        let list: serde_json::Value =
            serde_json::from_str(&conflist(Path::new("/run/naru-node/cni.sock"))).unwrap();
        let mut plugin = list["plugins"][0].clone();
        plugin["cniVersion"] = list["cniVersion"].clone();
        plugin["name"] = list["name"].clone();
        let parsed = naru_node_api::cni::NetworkConfig::parse(plugin.to_string().as_bytes());
        assert_eq!(parsed.unwrap().socket, Path::new("/run/naru-node/cni.sock"));
    }

    #[test]
    fn a_file_is_replaced_whole_and_only_if_it_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin");
        put(&path, b"one", 0o755).unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!(first.permissions().mode() & 0o777, 0o755);
        put(&path, b"one", 0o755).unwrap();
        let modified = |meta: &fs::Metadata| meta.modified().unwrap();
        assert_eq!(modified(&first), modified(&fs::metadata(&path).unwrap()));
        put(&path, b"two", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(put(&dir.path().join("none/plugin"), b"", 0o755).is_err());
    }
}
