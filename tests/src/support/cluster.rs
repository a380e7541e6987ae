//! A running cluster: start, look into, hurt, restart.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::addresses::{self, Families};
use super::cgroup::CgroupTree;
use super::containerd::Containerd;
use super::daemons::{self, CONTROL_PROCESS, containerd_process, node_process};
use super::door::{Forward, Ports};
use super::down;
use super::kubectl::Kubectl;
use super::layout::{Layout, node_name};
use super::ledger::Ledger;
use super::process::{Launch, Process, enter};
use super::routing::Routing;
use super::{mounts, network, outside, readiness, wait};

const CONTROL_LIMIT: Duration = Duration::from_secs(20);
const READY_LIMIT: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Number of nodes, from 1.
    pub nodes: u8,
    /// Its address families.
    pub families: Families,
    /// How its nodes' pods reach each other.
    pub routing: Routing,
    /// kubectl that the fixture itself uses.
    pub kubectl: PathBuf,
}

/// A cluster that is up, or on its way.
#[derive(Debug)]
pub struct Cluster {
    /// Its names and paths.
    pub layout: Layout,
    /// Its cgroups.
    pub cgroups: CgroupTree,
    ledger: Mutex<Ledger>,
    kubectl: PathBuf,
    begin: Instant,
}

impl Cluster {
    /// Starts a cluster and waits until every node is Ready; on a running one, starts what is missing.
    ///
    /// # Errors
    /// When a part does not start; what was started stays for inspection until [`down::down`].
    pub fn up(layout: Layout, spec: &Spec) -> Result<Self> {
        let cluster = Self::adopt_or_create(layout, spec)?;
        thread::scope(|scope| -> Result<()> {
            let machines: Vec<_> = cluster
                .nodes()
                .map(|k| {
                    let c = &cluster;
                    scope.spawn(move || c.start_containerd(k))
                })
                .collect();
            cluster.start_outside()?;
            cluster.start_control()?;
            for machine in machines {
                machine
                    .join()
                    .map_err(|_| anyhow!("the start of a node panicked"))??;
            }
            cluster.nodes().try_for_each(|k| cluster.start_node(k))
        })?;
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// The cluster that is up, if there is one.
    ///
    /// # Errors
    /// When its record can't be read.
    pub fn open(layout: Layout, kubectl: PathBuf) -> Result<Option<Self>> {
        let ledger = Ledger::load(&layout.ledger())?;
        ledger
            .map(|ledger| Self::of(layout, ledger, kubectl))
            .transpose()
    }

    fn of(layout: Layout, ledger: Ledger, kubectl: PathBuf) -> Result<Self> {
        let cgroups = CgroupTree::find(&layout.prefix())?;
        Ok(Self {
            layout,
            cgroups,
            ledger: Mutex::new(ledger),
            kubectl,
            begin: Instant::now(),
        })
    }

    /// A cluster that lacks a namespace is half made and starts afresh.
    fn adopt_or_create(layout: Layout, spec: &Spec) -> Result<Self> {
        if let Some(ledger) = Ledger::load(&layout.ledger())? {
            let whole =
                network::present(&layout)?.len() == network::members(ledger.nodes).len() + 1;
            let made = (ledger.nodes, ledger.families, ledger.routing);
            let same = made == (spec.nodes, spec.families, spec.routing);
            if whole && same {
                let cluster = Self::of(layout, ledger, spec.kubectl.clone())?;
                cluster.say("found a cluster, starting what is missing");
                return Ok(cluster);
            }
        }
        down::ensure_ours(&layout)?;
        down::down(&layout).context("clear away an earlier cluster")?;
        Self::create(layout, spec)
    }

    fn create(layout: Layout, spec: &Spec) -> Result<Self> {
        let ledger = Ledger {
            cluster: layout.cluster.clone(),
            nodes: spec.nodes,
            families: spec.families,
            routing: spec.routing,
            kubeconfig: layout.kubeconfig(),
            door: Ports::choose(&layout.cluster)?,
            processes: Vec::new(),
        };
        let cluster = Self::of(layout, ledger, spec.kubectl.clone())?;
        // The logs of an earlier cluster would be read as those of this one.
        let logs = cluster.layout.root().join("logs");
        std::fs::remove_dir_all(&logs).ok();
        std::fs::create_dir_all(&logs)?;
        // The record comes first: what is half made must be known as ours.
        cluster.ledger().save(&cluster.layout.ledger())?;
        mounts::bpffs(&cluster.layout.bpffs())?;
        network::create(&cluster.layout, spec.nodes, spec.families)?;
        cluster.say("namespaces and links are made");
        Ok(cluster)
    }

    /// The numbers of its nodes.
    pub fn nodes(&self) -> std::ops::RangeInclusive<u8> {
        1..=self.ledger().nodes
    }

    /// Its address families.
    pub fn families(&self) -> Families {
        self.ledger().families
    }

    /// How its nodes' pods reach each other.
    pub fn routing(&self) -> Routing {
        self.ledger().routing
    }

    /// Ports of its front door.
    pub fn door(&self) -> Ports {
        self.ledger().door
    }

    /// kubectl as its administrator.
    pub fn kubectl(&self) -> Kubectl {
        self.kubectl_of(&self.kubectl)
    }

    /// Another kubectl as its administrator.
    pub fn kubectl_of(&self, program: impl Into<PathBuf>) -> Kubectl {
        Kubectl::new(program, self.layout.kubeconfig())
    }

    /// A command that runs among the processes of `role`: in its namespace and cgroup.
    pub fn inside(&self, role: &str) -> Command {
        let group = if role.starts_with("node") {
            format!("{role}/daemons")
        } else {
            role.to_owned()
        };
        enter(
            &self.cgroups.dir(&group),
            Some(&self.layout.netns(role)),
            false,
        )
    }

    /// A recorded process that runs.
    pub fn process(&self, name: &str) -> Option<Process> {
        self.ledger().running(name).cloned()
    }

    /// Starts the control plane, unless it runs, and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn start_control(&self) -> Result<()> {
        let program = self.layout.program("naru-control")?;
        self.start(
            CONTROL_PROCESS,
            "control1",
            "control1",
            daemons::control(&program, &self.layout, self.families()),
        )?;
        let admin = daemons::control_data(&self.layout).join("admin.kubeconfig");
        self.settle(CONTROL_PROCESS, CONTROL_LIMIT, || {
            Ok(admin.is_file().then_some(()))
        })?;
        daemons::sign_admin(&program, &self.layout, self.door().api)?;
        self.start_door()?;
        self.wait_api()?;
        self.say("naru-control answers");
        Ok(())
    }

    /// Waits until the API server says that it is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_api(&self) -> Result<()> {
        let kubectl = self.kubectl();
        self.settle(CONTROL_PROCESS, CONTROL_LIMIT, || {
            kubectl
                .run(&["get", "--raw", "/readyz", "--request-timeout=2s"])
                .map(Some)
        })?;
        Ok(())
    }

    /// Starts the daemon of node `k`, unless it runs.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_node(&self, k: u8) -> Result<()> {
        self.start_node_with(k, &[])
    }

    /// The same, with more of a command line.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_node_with(&self, k: u8, flags: &[&str]) -> Result<()> {
        let role = node_name(k);
        let credentials = self.layout.member(&role).join("credentials/kubeconfig");
        if !credentials.is_file() {
            let program = self.layout.program("naru-control")?;
            daemons::sign_node(&program, &self.layout, self.families(), k)?;
        }
        let mut line = daemons::node(
            &self.layout.program("naru-node")?,
            &self.layout,
            &self.cgroups,
            (self.families(), self.routing()),
            k,
        );
        line.extend(flags.iter().map(Into::into));
        self.start(&node_process(k), &role, &format!("{role}/daemons"), line)
    }

    /// Starts containerd of node `k`, unless it runs, and gives it the images.
    ///
    /// # Errors
    /// When it does not answer in time or refuses an image.
    pub fn start_containerd(&self, k: u8) -> Result<()> {
        let (name, role) = (containerd_process(k), node_name(k));
        if self.process(&name).is_some() {
            return Ok(());
        }
        self.cgroups.create(&format!("{role}/pods"))?;
        let containerd = Containerd::of(&self.layout, &role);
        let socket = self.layout.member(&role).join("run/cni.sock");
        containerd.prepare(&self.layout.program("naru-cni")?, &socket)?;
        self.start(
            &name,
            &role,
            &format!("{role}/daemons"),
            containerd.command(),
        )?;
        containerd.wait()?;
        containerd.import(&self.layout.images()?)?;
        self.say(&format!("{role}: containerd answers and has the images"));
        Ok(())
    }

    fn start_outside(&self) -> Result<()> {
        let name_server = outside::name_server(self.families());
        self.start("dns@outside", "outside", "outside", name_server)?;
        self.start(
            "registry@outside",
            "outside",
            "outside",
            outside::registry(&self.layout, self.families())?,
        )
    }

    fn start_door(&self) -> Result<()> {
        let host = |port| (std::net::Ipv4Addr::LOCALHOST, port).into();
        let ports = self.door();
        let at = |address, port| (self.families().first(address), port).into();
        let ways = [
            Forward {
                listen: host(ports.api),
                target: at(addresses::CONTROL1, daemons::API_PORT),
            },
            Forward {
                listen: host(ports.ingress),
                target: at(addresses::node(1), 80),
            },
        ];
        let mut line = vec![self.layout.program("xtask")?.into(), "door".into()];
        line.push(self.layout.netns("outside").into());
        line.extend(ways.iter().map(|w| w.to_string().into()));
        self.launch("door", None, "door", line)
    }

    fn start(
        &self,
        name: &str,
        role: &str,
        group: &str,
        line: Vec<std::ffi::OsString>,
    ) -> Result<()> {
        self.launch(name, Some(self.layout.netns(role)), group, line)
    }

    fn launch(
        &self,
        name: &str,
        netns: Option<PathBuf>,
        group: &str,
        command: Vec<std::ffi::OsString>,
    ) -> Result<()> {
        let launch = Launch {
            name: name.to_owned(),
            cgroup: self.cgroups.create(group)?,
            netns,
            command,
            env: vec![("RUST_BACKTRACE".into(), "1".into())],
            log: self.layout.log(name),
        };
        if let Some(running) = self.process(name) {
            if running.built == launch.built() {
                return Ok(());
            }
            self.say(&format!("{name} was rebuilt and is restarted"));
            running.kill()?;
        }
        let process = launch.start()?;
        let mut ledger = self.ledger();
        ledger.record(process);
        ledger.save(&self.layout.ledger())
    }

    /// Waits until every node is Ready.
    ///
    /// # Errors
    /// When one is not in time, or its daemon ends; at once when one takes no pods.
    pub fn wait_ready(&self) -> Result<()> {
        let kubectl = self.kubectl();
        let wanted = self.nodes().count();
        wait::until("every node to be Ready", READY_LIMIT, || {
            self.all_daemons_run()?;
            let ready = readiness::ready(&kubectl.json(&["get", "nodes"])?);
            Ok(match ready {
                Ok(ready) => (ready == wanted).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            })
        })
        .and_then(|settled| settled)
        .map_err(|e| self.with_logs(e, &self.nodes().map(node_process).collect::<Vec<_>>()))?;
        self.say(&format!("{wanted} nodes are Ready"));
        Ok(())
    }

    fn all_daemons_run(&self) -> Result<()> {
        for k in self.nodes() {
            let name = node_process(k);
            self.process(&name)
                .with_context(|| format!("{name} has ended"))?;
        }
        Ok(())
    }

    /// Waits on behalf of a daemon: gives up at once when it ends, and shows its log.
    fn settle<T>(
        &self,
        name: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let outcome = wait::until(name, limit, || match self.process(name) {
            Some(_) => Ok(probe()?.map(Ok)),
            None => Ok(Some(Err(anyhow!("{name} has ended")))),
        });
        outcome
            .and_then(|settled| settled)
            .map_err(|e| self.with_logs(e, &[name.to_owned()]))
    }

    /// Kills a daemon without notice.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, name: &str) -> Result<()> {
        match self.process(name) {
            Some(process) => process.kill(),
            None => bail!("{name} does not run"),
        }
    }

    /// An error together with the ends of the logs concerned.
    pub fn with_logs(&self, error: anyhow::Error, daemons: &[String]) -> anyhow::Error {
        let tails = daemons
            .iter()
            .map(|d| self.log_tail(d, 25))
            .collect::<Vec<_>>()
            .join("\n");
        anyhow!("{error:#}\n{tails}")
    }

    /// The last lines of a daemon's log.
    pub fn log_tail(&self, daemon: &str, lines: usize) -> String {
        let path = self.layout.log(daemon);
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
        let all: Vec<_> = text.lines().collect();
        let tail = all[all.len().saturating_sub(lines)..].join("\n");
        format!("--- {} (last lines)\n{tail}", path.display())
    }

    /// Ends it and removes its state.
    ///
    /// # Errors
    /// As [`down::down`].
    pub fn down(self) -> Result<()> {
        down::down(&self.layout)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, what: &str) {
        eprintln!("  {:5.2} s  {what}", self.begin.elapsed().as_secs_f64());
    }
}
