//! A control plane of its own for every test: the real binary, real TLS, a free port of the loopback.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `naru-control`, ended when dropped.
pub(crate) struct Control {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    program: PathBuf,
}

impl Control {
    /// Starts one on an empty directory.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = spawn(&dir, port);
        let program = "kubectl".into();
        let control = Self {
            child,
            dir,
            port,
            program,
        };
        control.wait_ready();
        control
    }

    /// Kills it with SIGKILL and starts it again on the same directory.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        self.child = spawn(&self.dir, self.port);
        self.wait_ready();
    }

    /// Sends SIGTERM and returns the exit status.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The directory that the control plane works in.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    fn wait_ready(&self) {
        eventually("the server is ready", || {
            self.kubeconfig().exists()
                && self
                    .try_kubectl(&["get", "--raw", "/readyz"])
                    .status
                    .success()
        });
    }

    /// Uses another kubectl from now on.
    pub(crate) fn with(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Runs kubectl as administrator.
    pub(crate) fn try_kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_with(args, "")
    }

    /// Runs kubectl with `input` on its standard input.
    pub(crate) fn kubectl_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is installed");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts kubectl, which says what it has to say into `file`.
    pub(crate) fn start_kubectl(&self, args: &[&str], file: &Path) -> Child {
        let said = std::fs::File::create(file).unwrap();
        Command::new(&self.program)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .expect("kubectl is installed")
    }

    /// Runs kubectl, which must succeed, and returns what it printed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl_in(args, "")
    }

    /// Like [`Self::kubectl`] with `input` on its standard input.
    pub(crate) fn kubectl_in(&self, args: &[&str], input: &str) -> String {
        let output = self.kubectl_with(args, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs kubectl, which must fail, and returns its complaint.
    pub(crate) fn kubectl_fails(&self, args: &[&str], input: &str) -> String {
        let output = self.kubectl_with(args, input);
        assert!(!output.status.success(), "kubectl {args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &tempfile::TempDir, port: u16) -> Child {
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args(["serve", "--advertise-address", "127.0.0.1"])
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"))
        .arg("--data-dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("naru-control starts")
}

/// Waits until `true`, and fails after [`PATIENCE`].
pub(crate) fn eventually(claim: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "still not true: {claim}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
