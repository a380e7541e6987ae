//! Connections between pods, directly and through services, against the kernel's own means.
//!
//! Client and server are pinned to one core: on two, one measures how fast an idle core wakes. Our
//! side runs inside real containers; the peers are a bed of plain namespaces, with the rule sets of
//! kube-proxy in it, and the nodes' own namespaces. A rule set is unloaded before the next one comes,
//! and no case sees the rules of another.

mod end;
mod plain;
mod rules;

use std::time::Duration;

use anyhow::{Context, Result};
use naru_tests::support::{Cluster, addresses, wait};

use self::end::{End, Mode, PORT};
use self::plain::{Plain, SERVERS};
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
spec: {selector: {app: remote}, ports: [{port: 9000}]}
";

const SERVICES: [usize; 3] = [1, 1_000, 10_000];

/// How long the nodes may take to know ten thousand new services.
const KNOWN_LIMIT: Duration = Duration::from_secs(120);

/// Each mode, on one node and across nodes; then many services.
pub(super) fn measure(cluster: &Cluster, effort: Effort) -> Result<Vec<Case>> {
    let bed = Bed::prepare(cluster, effort)?;
    let mut cases = Vec::new();
    for mode in Mode::ALL {
        cases.extend(bed.services_of_pods(mode)?);
        cases.push(bed.one_node(mode)?);
        cases.push(bed.two_nodes(mode)?);
    }
    cases.extend(bed.many_services()?);
    Ok(cases)
}

/// Everything that is measured: pods of the cluster, and the peers.
struct Bed<'a> {
    cluster: &'a Cluster,
    ground: Ground,
    plain: Plain,
    effort: Effort,
}

impl<'a> Bed<'a> {
    fn prepare(cluster: &'a Cluster, effort: Effort) -> Result<Self> {
        let ground = Ground::prepare(cluster)?;
        ground.apply(PODS)?;
        let ready = "--for=condition=Ready";
        ground.run(&["wait", ready, "--timeout=60s", "pod", "--all"])?;
        let plain = Plain::create(cluster.layout.program("landing")?)?;
        Ok(Self {
            cluster,
            ground,
            plain,
            effort,
        })
    }

    /// Through a ClusterIP against directly, after directly against directly.
    fn services_of_pods(&self, mode: Mode) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for (place, name) in [("one_node", "server"), ("two_nodes", "remote")] {
            let (pod, service) = (self.pod(name)?, self.service(name)?);
            let direct = || self.ask(mode, &pod);
            let through = || self.ask(mode, &service);
            let null = format!("null_{}_{place}", mode.name());
            cases.push(self.pair(&null, mode, "direct pod", direct, direct)?);
            let case = format!("clusterip_{}_{place}", mode.name());
            cases.push(self.pair(&case, mode, "direct pod", through, direct)?);
        }
        Ok(cases)
    }

    /// Against the kernel's routing between the same kind of links.
    fn one_node(&self, mode: Mode) -> Result<Case> {
        let (client, server) = (self.plain.client(), self.plain.server());
        let _serving = server.serve()?;
        let (pod, peer) = (self.pod("server")?, at(SERVERS[0]));
        self.pair(
            &format!("pod_to_pod_{}_one_node", mode.name()),
            mode,
            "kernel routing",
            || self.ask(mode, &pod),
            || client.measure(&peer, mode, self.effort.seconds),
        )
    }

    /// Against the nodes themselves.
    fn two_nodes(&self, mode: Mode) -> Result<Case> {
        let (client, server) = (self.host("node1")?, self.host("node2")?);
        let _serving = server.serve()?;
        let (pod, peer) = (self.pod("remote")?, at(&addresses::node(2).to_string()));
        self.pair(
            &format!("pod_to_pod_{}_two_nodes", mode.name()),
            mode,
            "host to host",
            || self.ask(mode, &pod),
            || client.measure(&peer, mode, self.effort.seconds),
        )
    }

    /// One of many services: against the pod, and against rule sets with as many.
    fn many_services(&self) -> Result<Vec<Case>> {
        let server = self.plain.server();
        let _serving = server.serve()?;
        let (mut cases, mut of_direct) = (Vec::new(), Vec::new());
        for count in SERVICES {
            self.make_services(count)?;
            let service = self.known_service(count / 2)?;
            let pod = self.pod("server")?;
            let mode = Mode::Connect;
            let case = self.pair(
                &format!("clusterip_crr_{count}_services"),
                mode,
                "direct pod",
                || self.ask(mode, &service),
                || self.ask(mode, &pod),
            )?;
            of_direct.extend(case.ratio());
            cases.push(case);
            cases.extend(self.against_rules(count, &service)?);
        }
        self.delete_services()?;
        let flatness = of_direct[of_direct.len() - 1] / of_direct[0];
        let name = "clusterip_crr_flatness_10000_to_1";
        cases.push(Case::alone(name, "x", Better::Higher, &[flatness]));
        Ok(cases)
    }

    fn against_rules(&self, count: usize, service: &str) -> Result<Vec<Case>> {
        let client = self.plain.client();
        let target = format!("{}:{}", rules::address(count / 2), rules::SERVICE_PORT);
        let mode = Mode::Connect;
        let mut cases = Vec::new();
        for kind in rules::Kind::ALL {
            kind.load(&self.plain, count)?;
            let outcome = self.pair(
                &format!("clusterip_crr_{count}_services_{}", kind.name()),
                mode,
                kind.name(),
                || self.ask(mode, service),
                || client.measure(&target, mode, self.effort.seconds),
            );
            kind.unload(&self.plain)?;
            cases.push(outcome?);
        }
        Ok(cases)
    }

    fn make_services(&self, count: usize) -> Result<()> {
        let [first, second] = [self.address("server")?, self.address("second")?];
        let endpoints = format!("{first},{second}");
        let count = count.to_string();
        let port = PORT.to_string();
        let args = [
            "--count",
            &count,
            "--endpoints",
            &endpoints,
            "--port",
            &port,
        ];
        load::run(self.cluster, "services", &args).map(drop)
    }

    fn delete_services(&self) -> Result<()> {
        let count = SERVICES[SERVICES.len() - 1].to_string();
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

    fn pair(
        &self,
        case: &str,
        mode: Mode,
        peer: &str,
        ours: impl FnMut() -> Result<f64>,
        theirs: impl FnMut() -> Result<f64>,
    ) -> Result<Case> {
        let pairs = self.effort.pairs;
        Case::paired(case, mode.unit(), peer, pairs, ours, theirs).with_context(|| case.to_owned())
    }

    fn ask(&self, mode: Mode, target: &str) -> Result<f64> {
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
            mode.name(),
            "--target",
            target,
            "--seconds",
            &seconds,
        ];
        last_number(&self.ground.run(&line)?)
    }

    fn host(&self, node: &str) -> Result<End> {
        Ok(End {
            program: self.cluster.layout.program("landing")?,
            netns: self.cluster.layout.netns(node),
            cgroup: None,
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

fn at(ip: &str) -> String {
    format!("{ip}:{PORT}")
}
