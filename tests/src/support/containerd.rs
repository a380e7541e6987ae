//! A containerd of its own for a node: configuration, start, images.
//!
//! Works with the containerd of Debian 12 (1.6) and with newer ones, which translate the
//! configuration of version 2. Nothing is shared with a containerd that the machine may run: root,
//! state, socket, runc's root and CNI directories are the node's.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::addresses;
use super::layout::Layout;
use super::run;
use super::wait;

/// Image of the sandboxes, made by xtask.
pub const SANDBOX_IMAGE: &str = "naru.dev/pause:dev";

const START_LIMIT: Duration = Duration::from_secs(15);

/// Paths of one node's containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    dir: PathBuf,
}

impl Containerd {
    /// The containerd of the node called `role`.
    pub fn of(layout: &Layout, role: &str) -> Self {
        Self {
            dir: layout.member(role).join("containerd"),
        }
    }

    /// The socket on which it serves CRI.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The command that starts it.
    pub fn command(&self) -> Vec<std::ffi::OsString> {
        vec![
            "containerd".into(),
            "--config".into(),
            self.dir.join("config.toml").into(),
        ]
    }

    /// Writes configuration, CNI network and registry hosts; links the plugins.
    ///
    /// # Errors
    /// When the directory can't be written or the plugin is not built.
    pub fn prepare(&self, plugin: &Path, cni_socket: &Path) -> Result<()> {
        for dir in ["cni/net.d", "cni/bin"] {
            fs::create_dir_all(self.dir.join(dir))
                .with_context(|| self.dir.display().to_string())?;
        }
        fs::write(self.dir.join("config.toml"), self.config())?;
        fs::write(
            self.dir.join("cni/net.d/10-naru.conflist"),
            network_list(cni_socket),
        )?;
        // containerd runs `loopback` before the network's own plugin; ours knows that name too.
        for name in ["naru-cni", "loopback"] {
            relink(plugin, &self.dir.join("cni/bin").join(name))?;
        }
        let registry = self.dir.join("certs.d").join(addresses::registry());
        fs::create_dir_all(&registry)?;
        fs::write(registry.join("hosts.toml"), registry_hosts())?;
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it does not within 15 seconds.
    pub fn wait(&self) -> Result<()> {
        let socket = self.socket();
        wait::until(
            &format!("containerd at {}", socket.display()),
            START_LIMIT,
            || {
                UnixStream::connect(&socket)?;
                Ok(Some(()))
            },
        )
    }

    /// Imports OCI archives.
    ///
    /// # Errors
    /// When an archive is refused.
    pub fn import(&self, archives: &[PathBuf]) -> Result<()> {
        for archive in archives {
            self.ctr(&["images", "import", &archive.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Runs `ctr` in the namespace of CRI's images and containers.
    ///
    /// # Errors
    /// When `ctr` fails.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        let socket = self.socket();
        let socket = socket.to_string_lossy();
        let all: Vec<&str> = ["-a", &socket, "-n", "k8s.io"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        run::run("ctr", &all)
    }

    /// Process id of a running container, whose id is written with or without `containerd://`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn task_pid(&self, container: &str) -> Result<i32> {
        let id = container.trim_start_matches("containerd://");
        let tasks = self.ctr(&["tasks", "list"])?;
        let line = tasks.lines().find(|l| l.starts_with(id));
        let pid = line.and_then(|l| l.split_whitespace().nth(1));
        pid.and_then(|pid| pid.parse().ok())
            .with_context(|| format!("no running container {id}"))
    }

    /// Sockets of shims that still stand below `/run/containerd`, where containerd always puts them.
    pub fn shim_sockets(&self) -> Vec<PathBuf> {
        let bundles = self.dir.join("state/io.containerd.runtime.v2.task/k8s.io");
        let entries = fs::read_dir(bundles).into_iter().flatten().flatten();
        let addresses = entries.filter_map(|e| fs::read_to_string(e.path().join("address")).ok());
        addresses
            .filter_map(|a| Some(PathBuf::from(a.trim().strip_prefix("unix://")?)))
            .collect()
    }

    fn config(&self) -> String {
        let dir = self.dir.display();
        format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni/bin"
    conf_dir = "{dir}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{dir}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{dir}/runc"
"#
        )
    }
}

fn network_list(cni_socket: &Path) -> String {
    let plugin = serde_json::json!({"type": "naru-cni", "socket": cni_socket});
    serde_json::json!({"cniVersion": "1.0.0", "name": "naru", "plugins": [plugin]}).to_string()
}

/// The registry on the fabric speaks plain HTTP.
fn registry_hosts() -> String {
    let registry = addresses::registry();
    format!(
        "server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    )
}

fn relink(to: &Path, at: &Path) -> Result<()> {
    fs::remove_file(at).ok();
    symlink(to, at).with_context(|| at.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shared_with_the_machines_containerd() {
        let layout = Layout::new("dev", Path::new("/t")).unwrap();
        let config = Containerd::of(&layout, "node1").config();
        for key in [
            "root = ",
            "state = ",
            "address = ",
            "bin_dir = ",
            "conf_dir = ",
            "Root = ",
            "path = ",
        ] {
            let line = config
                .lines()
                .find(|l| l.trim_start().starts_with(key))
                .unwrap();
            assert!(line.contains("/t/dev/node1/containerd/"), "{line}");
        }
    }

    #[test]
    fn the_network_names_our_plugin_and_its_socket() {
        let list = network_list(Path::new("/run/x/cni.sock"));
        assert!(list.contains(r#""type":"naru-cni""#) && list.contains("/run/x/cni.sock"));
    }
}
