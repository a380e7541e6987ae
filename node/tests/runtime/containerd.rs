//! A containerd of the test's own, with one image made from the machine's static busybox.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The image, for sandboxes and containers alike.
pub(crate) const IMAGE: &str = "pt.example/busybox:1";

pub(crate) struct Containerd {
    dir: PathBuf,
    process: Child,
}

impl Containerd {
    /// Starts it; `None`, with the reason on stderr, where it can't run.
    pub(crate) fn start(dir: &Path) -> Option<Self> {
        let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
        let root = nix::unistd::geteuid().is_root();
        if !root || !has("containerd") || !has("runc") || !Path::new("/bin/busybox").exists() {
            eprintln!("SKIPPED: needs root, containerd, runc and /bin/busybox");
            return None;
        }
        std::fs::write(dir.join("config.toml"), config(dir)).unwrap();
        let log = std::fs::File::create(dir.join("containerd.log")).unwrap();
        let process = Command::new("containerd")
            .arg("--config")
            .arg(dir.join("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Self {
            dir: dir.to_owned(),
            process,
        };
        containerd.wait();
        containerd.import();
        Some(containerd)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn import(&self) {
        let archive = archive(&self.dir);
        let done = Command::new("ctr")
            .arg("-a")
            .arg(self.socket())
            .args(["-n", "k8s.io", "images", "import"])
            .arg(archive)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni/bin"
    conf_dir = "{dir}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{dir}/runc"
"#
    )
}

/// An archive in the form of `docker save`: one layer with busybox, made with tar and sha256sum.
fn archive(dir: &Path) -> PathBuf {
    let root = dir.join("image");
    for sub in ["layer/bin", "layer/tmp", "layer/etc"] {
        std::fs::create_dir_all(root.join(sub)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("layer/bin/busybox")).unwrap();
    let run = |command: &mut Command| {
        let done = command.current_dir(&root).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    };
    run(Command::new("tar").args(["-C", "layer", "-cf", "layer.tar", "."]));
    let digest = run(Command::new("sha256sum").arg("layer.tar"));
    let digest = digest.split(' ').next().unwrap();
    let image = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {"Cmd": ["/bin/busybox", "sleep", "2147483647"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [],
    });
    std::fs::write(root.join("config.json"), image.to_string()).unwrap();
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}
    ]);
    std::fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
    run(Command::new("tar").args([
        "-cf",
        "image.tar",
        "manifest.json",
        "config.json",
        "layer.tar",
    ]));
    root.join("image.tar")
}
