//! Network namespaces, removed when dropped.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// A named network namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one, with `lo` up. One of this name that an interrupted run left is replaced.
    pub fn new(name: &str) -> Self {
        let _ = Command::new("ip").args(["netns", "del", name]).output();
        run(Command::new("ip").args(["netns", "add", name]));
        let netns = Self {
            name: name.to_owned(),
        };
        netns.ip("link set lo up");
        netns
    }

    /// Another namespace, joined to this one's bridge by a veth whose end there is `eth0`.
    pub fn host(&self, name: &str, address: &str) -> Self {
        let host = Self::new(name);
        let port: String = name.chars().skip(3).collect();
        self.ip(&format!(
            "link add {port} type veth peer name eth0 netns {name}"
        ));
        self.ip(&format!("link set {port} master br0 up"));
        host.ip(&format!("addr add {address} dev eth0"));
        host.ip("link set eth0 up");
        host
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip")
            .args(["-n", &self.name])
            .args(arguments.split(' ')))
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread of its own inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let namespace = File::open(self.path()).expect("the namespace");
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
            work()
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

/// Runs a command that must succeed, and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
