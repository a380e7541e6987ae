//! A node that is set up wrongly or has run out: a clear event, and it heals without help.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::wait;
use serde_json::{Value, json};

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World, landing_pod};

pub(crate) const CASES: &[Case] = cases![
    a_broken_cni_configuration_is_named_and_heals_when_repaired,
    an_exhausted_address_pool_is_named_and_heals_when_addresses_are_free,
];

/// Messages of the events of one reason in a namespace.
pub(crate) fn messages(space: &Space<'_>, reason: &str) -> Result<String> {
    let path = format!(
        "jsonpath={{range .items[?(@.reason==\"{reason}\")]}}{{.message}}{{\"\\n\"}}{{end}}"
    );
    space.run(&["get", "events", "-o", &path])
}

/// Waits until the events of a reason have all the words.
pub(crate) fn event_says(space: &Space<'_>, reason: &str, words: &[&str]) -> Result<()> {
    wait::until(
        &format!("an event {reason} with {words:?}"),
        PATIENCE,
        || {
            let text = messages(space, reason)?;
            let has = |line: &str| words.iter().all(|word| line.contains(word));
            ensure!(text.lines().any(has), "events say {text:?}");
            Ok(Some(()))
        },
    )
}

/// The CNI configuration of node 2, put back as it was when dropped.
struct CniConfig {
    path: PathBuf,
    good: String,
}

impl CniConfig {
    fn of_node2(world: &World) -> Result<Self> {
        let node = world.cluster.layout.member("node2");
        let path = node.join("containerd/cni/net.d/10-naru.conflist");
        let good = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, good })
    }

    /// Replaces the file in one step, as an editor or a package does.
    fn write(&self, text: &str) -> Result<()> {
        let aside = self.path.with_extension("new");
        fs::write(&aside, text)?;
        Ok(fs::rename(aside, &self.path)?)
    }
}

impl Drop for CniConfig {
    fn drop(&mut self) {
        self.write(&self.good).ok();
    }
}

fn a_broken_cni_configuration_is_named_and_heals_when_repaired(world: &World) -> Result<()> {
    let space = world.namespace("cniconf")?;
    let config = CniConfig::of_node2(world)?;
    let broken = |change: fn(&mut Value)| -> Result<String> {
        let mut list: Value = serde_json::from_str(&config.good)?;
        change(&mut list);
        Ok(list.to_string())
    };
    // What the plugin finds wrong comes back in the pod's event.
    config.write(&broken(|list| list["plugins"][0]["socket"] = json!(7))?)?;
    space.apply(&landing_pod("one", Some(2)))?;
    event_says(
        &space,
        "FailedCreatePodSandBox",
        &["field \"socket\" is not a path: 7"],
    )?;
    config.write(&broken(|list| {
        list["plugins"][0]["socket"] = json!("/nowhere/cni.sock")
    })?)?;
    event_says(
        &space,
        "FailedCreatePodSandBox",
        &["the node's daemon does not answer at /nowhere/cni.sock"],
    )?;
    config.write(&config.good)?;
    space.pods_ready(&["one"])?;
    // What the runtime itself can't read is the node's trouble, and is told as such.
    let reason = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}"#;
    let ready = || world.kubectl.run(&["get", "node", "node2", "-o", reason]);
    config.write("{\"name\": \"naru\", \"plugins\": [")?;
    space.apply(&landing_pod("two", Some(2)))?;
    event_says(&space, "FailedCreatePodSandBox", &["cni"])?;
    wait::until("node2 to say what it lacks", PATIENCE, || {
        let said = ready()?;
        ensure!(
            said.starts_with("False") && said.contains("NetworkReady"),
            "{said}"
        );
        Ok(Some(()))
    })?;
    space.field_becomes("pod/one", ".status.phase", |v| v == "Running")?;
    config.write(&config.good)?;
    space.pods_ready(&["one", "two"])?;
    world.cluster.wait_ready()
}

/// Leases that nobody has: all addresses of node 2 but `left`. Gone when dropped.
struct Hoard<'a> {
    world: &'a World,
    files: Vec<PathBuf>,
}

impl<'a> Hoard<'a> {
    /// Leases are read when the daemon starts, and kept while their network namespace lives: they
    /// name the node's own.
    fn leave(world: &'a World, left: usize) -> Result<Self> {
        let dir = leases(world);
        let cidr =
            world
                .kubectl
                .run(&["get", "node", "node2", "-o", "jsonpath={.spec.podCIDR}"])?;
        let prefix = cidr
            .strip_suffix(".0/24")
            .with_context(|| format!("pod CIDR {cidr}"))?;
        world.cluster.kill(&node_process(2))?;
        let mut hoard = Self {
            world,
            files: Vec::new(),
        };
        let used = addresses(world)?;
        let free = (2..=254)
            .map(|host| format!("{prefix}.{host}"))
            .filter(|a| !used.contains(a));
        for (number, address) in free.skip(left).enumerate() {
            let file = dir.join(format!("hoard{number},eth0.json"));
            fs::write(&file, hoard.lease(number, &address).to_string())?;
            hoard.files.push(file);
        }
        world.cluster.start_node(2)?;
        world.cluster.wait_ready()?;
        Ok(hoard)
    }

    /// As a release wrote it that knew one family: the addresses of the other one stay free.
    fn lease(&self, number: usize, address: &str) -> Value {
        json!({"sandbox": format!("hoard{number}"), "ifname": "eth0", "address": address,
            "pod": {"namespace": "", "name": "", "uid": ""}, "since": 0,
            "netns": self.world.cluster.layout.netns("node2"), "host_link": format!("hoard{number}"),
            "host_mac": "02:00:00:00:00:01", "pod_mac": "02:00:00:00:00:02"})
    }
}

impl Drop for Hoard<'_> {
    fn drop(&mut self) {
        self.world.cluster.kill(&node_process(2)).ok();
        for file in &self.files {
            fs::remove_file(file).ok();
        }
        self.world.cluster.start_node(2).ok();
    }
}

/// Waits until nothing that earlier tests left on node 2 is on its way out: its address would be
/// one more that is free.
fn settled(world: &World) -> Result<()> {
    let phases = "jsonpath={.items[*].status.phase}";
    let pods = [
        "get",
        "pods",
        "-A",
        "--field-selector=spec.nodeName=node2",
        "-o",
        "name",
    ];
    wait::until("the end of earlier pods", PATIENCE, || {
        let namespaces = world.kubectl.run(&["get", "namespaces", "-o", phases])?;
        ensure!(
            !namespaces.contains("Terminating"),
            "namespaces: {namespaces}"
        );
        let (pods, leases) = (world.kubectl.run(&pods)?, addresses(world)?);
        ensure!(pods.lines().count() == leases.len(), "{leases:?} of {pods}");
        Ok(Some(()))
    })
}

fn leases(world: &World) -> PathBuf {
    world.cluster.layout.member("node2").join("state/leases")
}

/// The leases of node 2 that are nobody's hoard, as they stand in their files.
fn held(world: &World) -> Result<Vec<String>> {
    let files = fs::read_dir(leases(world))?.collect::<Result<Vec<_>, _>>()?;
    let ours = |file: &fs::DirEntry| !file.file_name().to_string_lossy().starts_with("hoard");
    let texts = files.iter().filter(|file| ours(file));
    Ok(texts
        .map(|file| fs::read_to_string(file.path()))
        .collect::<Result<_, _>>()?)
}

/// The IPv4 addresses of node 2 that are leased.
fn addresses(world: &World) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(leases(world))? {
        let lease: Value = serde_json::from_slice(&fs::read(entry?.path())?)?;
        let addresses = lease["addresses"].as_array().into_iter().flatten();
        let of_pods = addresses.chain(lease.get("address"));
        let texts = of_pods.filter_map(Value::as_str);
        found.extend(texts.filter(|text| text.contains('.')).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

/// The host ends of node 2's pods.
fn links(world: &World) -> Result<usize> {
    let list = world.on_node(2, &["ip", "-o", "link", "show", "type", "veth"])?;
    Ok(list.lines().filter(|l| l.contains(": naru")).count())
}

fn an_exhausted_address_pool_is_named_and_heals_when_addresses_are_free(
    world: &World,
) -> Result<()> {
    let space = world.namespace("pool")?;
    settled(world)?;
    let (before, links_before) = (addresses(world)?, links(world)?);
    let hoard = Hoard::leave(world, 2)?;
    for name in ["one", "two"] {
        space
            .landing_pod(name, Some(2))
            .with_context(|| format!("two addresses were left; now leased: {:?}", held(world)))?;
    }
    space.apply(&landing_pod("three", Some(2)))?;
    let cidr = world
        .kubectl
        .run(&["get", "node", "node2", "-o", "jsonpath={.spec.podCIDR}"])?;
    let words = ["no free address in the pod CIDR", cidr.as_str()];
    event_says(&space, "FailedCreatePodSandBox", &words)?;
    ensure!(space.field("pod/three", ".status.phase")? == "Pending");
    // The others are not touched, and an address that becomes free is given at once.
    space.get_from("one", "http://127.0.0.1:8080/")?;
    let freed = space.field("pod/one", ".status.podIP")?;
    space.run(&["delete", "pod", "one", "--timeout=60s"])?;
    space.pods_ready(&["three", "two"])?;
    let given = space.field("pod/three", ".status.podIP")?;
    ensure!(given == freed, "{given} was given, {freed} was free");
    space.run(&["delete", "pod", "two", "three", "--timeout=60s"])?;
    drop(hoard);
    world.cluster.wait_ready()?;
    // Neither addresses nor links of the attempts that failed are left.
    wait::until("the leases to be as before", PATIENCE, || {
        let now = addresses(world)?;
        let stray: Vec<_> = now.iter().filter(|a| !before.contains(a)).collect();
        ensure!(stray.is_empty(), "leases left: {stray:?}");
        let links = links(world)?;
        if links > links_before {
            return Err(anyhow!("{links} links, {links_before} before"));
        }
        Ok(Some(()))
    })
}
