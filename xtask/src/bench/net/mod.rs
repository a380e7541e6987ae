//! Connections between pods, directly and through services, against the kernel's own means.
//!
//! Client and server are pinned to one core: on two, one measures how fast an idle core wakes. Our
//! side runs inside real containers; the peers are a bed of plain namespaces, with the rule sets of
//! kube-proxy in it, and the nodes' own namespaces. All ends use the same congestion control and
//! the same cgroups, so that nothing but the network differs. A rule set is unloaded before the next one comes,
//! and no case sees the rules of another.

mod change;
mod cold;
mod cost;
mod end;
mod enforced;
mod first;
mod outside;
mod place;
mod plain;
mod programmed;
mod rules;

use std::time::Duration;

use anyhow::{Context, Result};
use naru_tests::support::containerd::Containerd;
use naru_tests::support::{Cluster, addresses, wait};

use self::cost::Counting;
use self::end::{End, Mode, PORT};
use self::first::{FIRST, Times};
use self::place::Place;
use self::plain::{Ends, Plain, UNRULED};
use super::report::Report;
use super::series::{Better, Case};
use super::{Effort, Ground, last_number, load};

const PODS: &str = "apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/bin/taskset, '2', /landing, measure-server]}]
---
apiVersion: v1
kind: Pod
metadata: {name: second}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/bin/taskset, '2', /landing, measure-server]}]
---
apiVersion: v1
kind: Pod
metadata: {name: remote, labels: {app: remote}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/bin/taskset, '2', /landing, measure-server]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/landing, pause]}]
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: remote}
spec: {type: NodePort, selector: {app: remote}, ports: [{port: 9000}]}
";

/// How many services there are when connections are measured.
const SERVICES: [usize; 4] = [1, 1_000, 10_000, 50_000];

/// How many there are when something changes, or a node knows none of them.
const TEN_THOUSAND: usize = 10_000;

/// Compares the first with the last of [`SERVICES`]; the cases before it are its parts.
const MANY: &str = "clusterip_crr_flatness_50000_to_1";

/// The kernel's count of a program's time varies little.
const COST_RUNS: usize = 5;

/// Cold starts take seconds each; so few tell enough.
const COLD_RUNS: usize = 5;

/// How long the nodes may take to know so many new services.
const KNOWN_LIMIT: Duration = Duration::from_secs(120);

/// Each mode, on one node and across nodes; then many services; then changes; then a node that knows
/// no service.
pub(super) fn measure(cluster: &Cluster, effort: Effort, report: &mut Report) -> Result<()> {
    let bed = Bed::prepare(cluster, effort)?;
    for mode in Mode::ALL {
        bed.services_of_pods(mode, report)?;
        bed.one_node(mode, report)?;
        bed.two_nodes(mode, report)?;
    }
    bed.outside(report)?;
    bed.many_services(report)?;
    bed.change(report)?;
    bed.enforced(report)?;
    bed.cold(report)
}

/// Everything that is measured: pods of the cluster, and the peers.
struct Bed<'a> {
    cluster: &'a Cluster,
    ground: Ground,
    plain: Plain,
    /// Places of the nodes' own ends.
    hosts: Ends,
    effort: Effort,
}

impl<'a> Bed<'a> {
    fn prepare(cluster: &'a Cluster, effort: Effort) -> Result<Self> {
        let ground = Ground::prepare(cluster)?;
        ground.apply(PODS)?;
        let ready = "--for=condition=Ready";
        ground.run(&["wait", ready, "--timeout=60s", "pod", "--all"])?;
        let ends = Ends {
            client: place(cluster, &ground, "client", "node1")?,
            server: place(cluster, &ground, "server", "node1")?,
        };
        let hosts = Ends {
            client: ends.client.clone(),
            server: place(cluster, &ground, "remote", "node2")?,
        };
        let plain = Plain::create(cluster.layout.program("landing")?, ends)?;
        Ok(Self {
            cluster,
            ground,
            plain,
            hosts,
            effort,
        })
    }

    /// Through a ClusterIP against directly, after directly against directly.
    fn services_of_pods(&self, mode: Mode, report: &mut Report) -> Result<()> {
        for (place, name) in [("one_node", "server"), ("two_nodes", "remote")] {
            let (pod, service) = (self.pod(name)?, self.service(name)?);
            let direct = || self.ask(mode, &pod);
            let through = || self.ask(mode, &service);
            let null = format!("null_{}_{place}", mode.name());
            self.pair(report, &null, mode, "direct pod", direct, direct)?;
            let case = format!("clusterip_{}_{place}", mode.name());
            self.pair(report, &case, mode, "direct pod", through, direct)?;
        }
        Ok(())
    }

    /// Against the kernel's routing between the same kind of links.
    fn one_node(&self, mode: Mode, report: &mut Report) -> Result<()> {
        let (client, server) = (self.plain.client(), self.plain.server());
        let _serving = server.serve()?;
        let (pod, peer) = (self.pod("server")?, at(UNRULED));
        self.pair(
            report,
            &format!("pod_to_pod_{}_one_node", mode.name()),
            mode,
            "kernel routing",
            || self.ask(mode, &pod),
            || client.measure(&peer, mode, self.effort.seconds),
        )
        .map(drop)
    }

    /// Against the nodes themselves.
    fn two_nodes(&self, mode: Mode, report: &mut Report) -> Result<()> {
        let (client, server) = (
            self.host("node1", &self.hosts.client)?,
            self.host("node2", &self.hosts.server)?,
        );
        let _serving = server.serve()?;
        let (pod, peer) = (self.pod("remote")?, at(&addresses::node(2).to_string()));
        self.pair(
            report,
            &format!("pod_to_pod_{}_two_nodes", mode.name()),
            mode,
            "host to host",
            || self.ask(mode, &pod),
            || client.measure(&peer, mode, self.effort.seconds),
        )
        .map(drop)
    }

    /// One of many services: against the pod, and against rule sets with as many.
    fn many_services(&self, report: &mut Report) -> Result<()> {
        if !report.wants(MANY) && !report.wants(FIRST) {
            return Ok(());
        }
        let server = self.plain.server();
        let _serving = server.serve()?;
        let mut of_direct = Vec::new();
        for count in SERVICES {
            self.make_services(count)?;
            // A node that is still learning services has less time for their clients.
            let last = self.known_service(count - 1)?;
            if report.wants(FIRST) {
                first::measure(self, count, &last, report)?;
            }
            if report.wants(MANY) {
                of_direct.push(self.one_of(count, report)?);
            }
        }
        if let [one, .., many] = of_direct.as_slice() {
            let flatness: Vec<_> = many.iter().zip(one).map(|(many, one)| many / one).collect();
            report.add(Case::alone(MANY, "x", Better::Higher, &flatness));
        }
        self.delete_services(SERVICES[SERVICES.len() - 1])
    }

    /// Whole connections to one of `count` services; the ratios to the pod itself.
    fn one_of(&self, count: usize, report: &mut Report) -> Result<Vec<f64>> {
        let service = self.known_service(count / 2)?;
        let pod = self.pod("server")?;
        let mode = Mode::Connect;
        let ratios = self.pair(
            report,
            &format!("clusterip_crr_{count}_services"),
            mode,
            "direct pod",
            || self.ask(mode, &service),
            || self.ask(mode, &pod),
        )?;
        self.cost(count, &service, report)?;
        self.against_rules(count, &service, report)?;
        Ok(ratios)
    }

    /// What the program at connect(2) takes with so many services.
    fn cost(&self, count: usize, service: &str, report: &mut Report) -> Result<()> {
        let counting = Counting::start(self.cluster)?;
        let one = || counting.of_each(|| self.ask(Mode::Connect, service));
        let costs: Vec<f64> = (0..COST_RUNS).map(|_| one()).collect::<Result<_>>()?;
        let case = format!("connect_program_{count}_services");
        report.add(Case::alone(&case, "ns", Better::Lower, &costs));
        Ok(())
    }

    /// One endpoint of very many.
    fn change(&self, report: &mut Report) -> Result<()> {
        if !report.wants(change::CHANGE) {
            return Ok(());
        }
        let count = TEN_THOUSAND;
        let make = || self.make_services_of(count, &change::endpoints());
        change::measure(self.cluster, &self.ground, (count, make), report)?;
        self.delete_services(count)
    }

    /// A policy for one pod.
    fn enforced(&self, report: &mut Report) -> Result<()> {
        if !report.wants(enforced::ENFORCED) {
            return Ok(());
        }
        enforced::measure(self.cluster, &self.ground, report)
    }

    /// Last, because it restarts a node.
    fn cold(&self, report: &mut Report) -> Result<()> {
        if !report.wants(cold::COLD) {
            return Ok(());
        }
        let count = TEN_THOUSAND;
        self.make_services(count)?;
        self.known_service(count - 1)?;
        let runs = self.effort.pairs.min(COLD_RUNS);
        cold::measure(self.cluster, &self.plain, count, runs, report)?;
        self.delete_services(count)
    }

    fn against_rules(&self, count: usize, service: &str, report: &mut Report) -> Result<()> {
        let client = self.plain.client();
        let target = format!("{}:{}", rules::address(count / 2), rules::SERVICE_PORT);
        let mode = Mode::Reset;
        for kind in rules::Kind::ALL {
            if !kind.load(&self.plain, count)? {
                println!("{MANY}: {}", kind.too_slow(count));
                continue;
            }
            let outcome = self.pair(
                report,
                &format!("clusterip_crr_{count}_services_{}", kind.name()),
                mode,
                kind.name(),
                || self.ask(mode, service),
                || client.measure(&target, mode, self.effort.seconds),
            );
            kind.unload(&self.plain)?;
            outcome?;
        }
        Ok(())
    }

    fn make_services(&self, count: usize) -> Result<()> {
        let [first, second] = [self.address("server")?, self.address("second")?];
        self.make_services_of(count, &format!("{first},{second}"))
    }

    fn make_services_of(&self, count: usize, endpoints: &str) -> Result<()> {
        let count = count.to_string();
        let port = PORT.to_string();
        let args = ["--count", &count, "--endpoints", endpoints, "--port", &port];
        load::run(self.cluster, "services", &args).map(drop)
    }

    fn delete_services(&self, count: usize) -> Result<()> {
        let count = count.to_string();
        load::run(self.cluster, "services", &["--count", &count, "--delete"]).map(drop)
    }

    /// Address of a service of the load, once its connections come through.
    fn known_service(&self, index: usize) -> Result<String> {
        let object = format!("service/svc-{index}");
        let path = "jsonpath={.spec.clusterIP}";
        let kubectl = &self.ground.kubectl;
        let ip = kubectl.run(&["-n", load::NAMESPACE, "get", &object, "-o", path])?;
        let target = at(&ip);
        wait::holds("the new services to answer", KNOWN_LIMIT, || {
            self.ask(Mode::Connect, &target).is_ok()
        })?;
        Ok(target)
    }

    /// Measures and reports a case, if it is wanted; the ratio of each pair.
    fn pair(
        &self,
        report: &mut Report,
        case: &str,
        mode: Mode,
        peer: &str,
        ours: impl FnMut() -> Result<f64>,
        theirs: impl FnMut() -> Result<f64>,
    ) -> Result<Vec<f64>> {
        let part_of_many = report.wants(MANY) && case.contains("_services");
        if !report.wants(case) && !part_of_many {
            return Ok(Vec::new());
        }
        let pairs = self.effort.pairs;
        let measured = Case::paired(case, mode.unit(), peer, pairs, ours, theirs);
        let measured = measured.with_context(|| case.to_owned())?;
        let ratios = measured.ratios().to_vec();
        report.add(measured);
        Ok(ratios)
    }

    fn ask(&self, mode: Mode, target: &str) -> Result<f64> {
        last_number(&self.measured(mode.name(), target)?)
    }

    /// What the first packets of the client pod's flows take.
    fn first(&self, target: &str) -> Result<Times> {
        first::read(&self.measured("first", target)?)
    }

    /// What `landing measure` prints in the client pod.
    fn measured(&self, mode: &str, target: &str) -> Result<String> {
        let seconds = self.effort.seconds.to_string();
        let line = [
            "exec",
            "client",
            "--",
            "taskset",
            "2",
            "/landing",
            "measure",
            "--mode",
            mode,
            "--target",
            target,
            "--seconds",
            &seconds,
        ];
        self.ground.run(&line)
    }

    fn host(&self, node: &str, place: &Place) -> Result<End> {
        Ok(End {
            program: self.cluster.layout.program("landing")?,
            netns: self.cluster.layout.netns(node),
            place: place.clone(),
        })
    }

    fn address(&self, pod: &str) -> Result<String> {
        self.ground.field(&format!("pod/{pod}"), ".status.podIP")
    }

    fn pod(&self, name: &str) -> Result<String> {
        self.address(name).map(|ip| at(&ip))
    }

    fn service(&self, name: &str) -> Result<String> {
        let object = format!("service/{name}");
        self.ground
            .field(&object, ".spec.clusterIP")
            .map(|ip| at(&ip))
    }
}

/// Beside a pod's container: the same cgroups but for our programs.
fn place(cluster: &Cluster, ground: &Ground, pod: &str, node: &str) -> Result<Place> {
    let object = format!("pod/{pod}");
    let container = ground.field(&object, ".status.containerStatuses[0].containerID")?;
    let pid = Containerd::of(&cluster.layout, node).task_pid(&container)?;
    Place::beside(pid, &cluster.cgroups, node)
}

fn at(ip: &str) -> String {
    format!("{ip}:{PORT}")
}
