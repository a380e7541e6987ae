//! Two nodes on one kernel: namespaces, cgroups, the daemon, the plugin, and objects to follow.
//!
//! Everything is named `nt-…` and removed when the fixture is dropped. The daemons follow a small
//! API (`objects`) that serves the objects of a test; all the rest is real.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "shared between test files")]

pub mod families;
pub mod netns;
pub mod objects;
pub mod offload;
pub mod pod;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, PerCpuArray};
use naru_ebpf_common::{Counter, Reason, counter, names};
use netns::{Netns, run};
use objects::Objects;

/// Waits until `check` holds, at most `patience`.
pub fn wait_for(what: &str, patience: Duration, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What this machine lacks for these tests; such a test says so and is counted as skipped.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root".into());
    }
    let objects = Path::new(env!("CARGO_BIN_EXE_naru-node"))
        .ancestors()
        .nth(2)?
        .join("bpf");
    (!objects.join("from_pod.o").exists()).then(|| "eBPF objects: run `cargo xtask bpf`".into())
}

/// The plugin, built beside the daemon.
pub fn plugin() -> PathBuf {
    let daemon = Path::new(env!("CARGO_BIN_EXE_naru-node"));
    let plugin = daemon.with_file_name("naru-cni");
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "--package",
        "naru-cni",
        "--bin",
        "naru-cni",
    ]);
    if daemon.parent().is_some_and(|dir| dir.ends_with("release")) {
        build.arg("--release");
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(
        build.status().expect("cargo runs").success(),
        "naru-cni does not build"
    );
    plugin
}

/// A fabric with nodes `node1` and `node2`, and `outside`.
pub struct Fixture {
    /// The nodes. They end first, while their files are still there.
    pub nodes: Vec<Node>,
    /// Where the test's files are.
    pub dir: tempfile::TempDir,
    /// What the nodes see of the API.
    pub objects: Objects,
    /// The world beyond the cluster.
    pub outside: Netns,
    /// What lies between.
    pub fabric: Netns,
}

impl Fixture {
    /// Builds the fabric; `name` keeps tests apart (at most 4 letters).
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fabric = Netns::new(&format!("nt-{name}-fab"));
        fabric.ip("link add br0 type bridge");
        fabric.ip("addr add 192.168.77.11/24 dev br0");
        fabric.ip("link set br0 up");
        let outside = fabric.host(&format!("nt-{name}-out"), "192.168.77.2/24");
        let objects = Objects::serve(&fabric);
        let nodes = (1..=2)
            .map(|k| Node::new(name, k, &fabric, dir.path()))
            .collect();
        Self {
            dir,
            objects,
            nodes,
            outside,
            fabric,
        }
    }
}

/// One node.
pub struct Node {
    /// Its number, from 1.
    pub number: u8,
    /// Its network namespace.
    pub netns: Netns,
    /// Its state, sockets and bpffs.
    pub dir: PathBuf,
    /// Its cgroup2 directory.
    pub cgroup: PathBuf,
    /// More of its command line.
    pub flags: Vec<String>,
    daemon: Option<Child>,
}

impl Node {
    fn new(name: &str, number: u8, fabric: &Netns, dir: &Path) -> Self {
        let netns = fabric.host(
            &format!("nt-{name}-n{number}"),
            &format!("192.168.77.10{number}/24"),
        );
        netns.ip("route add default via 192.168.77.2");
        let dir = dir.join(format!("node{number}"));
        let cgroup = cgroup2().join(format!("nt-{name}-n{number}"));
        for dir in [dir.join("cred"), dir.join("bpffs"), cgroup.clone()] {
            fs::create_dir_all(dir).expect("a directory");
        }
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": "http://192.168.77.11:6443"}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(dir.join("cred/kubeconfig"), kubeconfig.to_string()).expect("a kubeconfig");
        Self {
            number,
            netns,
            dir,
            cgroup,
            flags: Vec::new(),
            daemon: None,
        }
    }

    /// Packets that the programs of a hook forwarded.
    pub fn forwarded(&self, hook: u8) -> u64 {
        let version = names::MAPS.iter().find(|(map, _)| *map == names::COUNTERS);
        let (map, version) = version.expect("a map");
        let pin = self.bpffs().join(format!("maps/{map}-{version}"));
        let map = MapData::from_pin(pin).map(Map::PerCpuArray);
        let map = map.map(PerCpuArray::<_, Counter>::try_from);
        let map = map.expect("pinned").expect("counters");
        let index = counter::index(hook, Reason::FORWARDED);
        let values = map.get(&index, 0).expect("a counter");
        values.iter().map(|counter| counter.packets).sum()
    }

    /// Starts the daemon and waits until the CNI plugin says that it is ready.
    pub fn start(&mut self, plugin: &Path) {
        self.start_after(plugin, |_| {});
    }

    /// The same after something was done to its command.
    pub fn start_after(&mut self, plugin: &Path, prepare: impl FnOnce(&mut Command)) {
        self.launch_with(prepare);
        let ready = || pod::call(plugin, &self.socket(), "STATUS", "", None).0;
        wait_for("the daemon's network", Duration::from_secs(60), ready);
    }

    /// Starts the daemon.
    pub fn launch(&mut self) {
        self.launch_with(|_| {});
    }

    fn launch_with(&mut self, prepare: impl FnOnce(&mut Command)) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log");
        let number = self.number;
        let path = |name: &str| self.dir.join(name).display().to_string();
        let mut daemon = self.command(env!("CARGO_BIN_EXE_naru-node"));
        daemon.args([
            "--node-name",
            &format!("node{number}"),
            "--credentials",
            &path("cred"),
        ]);
        if !self.flags.iter().any(|flag| flag == "--node-ip") {
            daemon.args(["--node-ip", &format!("192.168.77.10{number}")]);
        }
        daemon.args(["--state-dir", &path("state")]);
        daemon.args(["--run-dir", &path("run"), "--bpffs", &path("bpffs")]);
        daemon
            .args(["--cri-socket", &path("none.sock"), "--cgroup"])
            .arg(&self.cgroup)
            .args(&self.flags);
        daemon
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        prepare(&mut daemon);
        self.daemon = Some(daemon.spawn().expect("the daemon starts"));
    }

    /// Ends the daemon as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// A command in the node's namespace and cgroup.
    pub fn command(&self, program: &str) -> Command {
        self.command_in(&self.netns, program)
    }

    /// A command in a pod's namespace and the node's cgroup.
    pub fn command_in(&self, netns: &Netns, program: &str) -> Command {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo $$ > \"$0\"/cgroup.procs; ns=$1; shift; exec nsenter --net=\"$ns\" \"$@\"",
        ]);
        command.arg(&self.cgroup).arg(netns.path()).arg(program);
        command
    }

    /// Where the daemon pins.
    pub fn bpffs(&self) -> PathBuf {
        self.dir.join("bpffs")
    }

    /// Where the plugin finds the daemon.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/cni.sock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What the daemon has logged.
    pub fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

/// How many lines of a daemon's log a failed test shows.
const LOGGED: usize = 30;

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.logged();
            let lines: Vec<&str> = log.lines().collect();
            // The last lines alone, for what failed stands before them.
            let last = lines[lines.len().saturating_sub(LOGGED)..].join("\n");
            eprintln!("--- node{}\n{last}", self.number);
        }
        let _ = nix::mount::umount(&self.dir.join("bpffs"));
        let _ = fs::remove_dir(&self.cgroup);
    }
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields
        .into_iter()
        .find(|fields| fields.get(2) == Some(&"cgroup2"));
    PathBuf::from(found.expect("a cgroup2 mount")[1])
}

/// Runs a command that must succeed.
pub fn must(command: &mut Command) -> String {
    run(command)
}
