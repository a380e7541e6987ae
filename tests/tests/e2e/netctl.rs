//! netctl against the running cluster: what it says is what happens, in names.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::{addresses, wait};
use serde_json::Value;

use crate::harness::{Case, cases};
use crate::policy::policy;
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    netctl_status_finds_both_nodes_well,
    netctl_status_names_a_node_whose_daemon_is_away,
    metrics_of_a_node_tell_how_full_its_maps_are,
    netctl_observe_shows_flows_that_nobody_watched,
    netctl_observe_follows_what_its_filters_want,
    netctl_drops_names_reason_and_policy,
    netctl_why_tells_each_hop_and_the_policy,
    netctl_why_says_what_is_missing,
];

/// Exit code of `netctl why` for a connection that would be dropped.
pub(crate) const DROPPED: i32 = 3;

/// What netctl printed, and its exit code.
pub(crate) struct Said {
    code: Option<i32>,
    text: String,
    complaint: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            text: text(&output.stdout),
            complaint: text(&output.stderr),
        }
    }

    /// Fails unless it ended with `code` and said every one of `words`.
    pub(crate) fn expect(self, code: i32, words: &[&str]) -> Result<Self> {
        let all = words.iter().all(|w| self.text.contains(w));
        ensure!(
            self.code == Some(code) && all,
            "wanted exit code {code} and {words:?}, got {:?}:\n{}{}",
            self.code,
            self.text,
            self.complaint
        );
        Ok(self)
    }
}

fn command(world: &World, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(world.cluster.layout.program("netctl")?);
    command
        .env("KUBECONFIG", world.cluster.layout.kubeconfig())
        .args(args);
    Ok(command)
}

pub(crate) fn netctl(world: &World, args: &[&str]) -> Result<Said> {
    let output = command(world, args)?.stdin(Stdio::null()).output()?;
    Ok(Said::of(&output))
}

fn netctl_status_finds_both_nodes_well(world: &World) -> Result<()> {
    wait::until("netctl status", PATIENCE, || {
        let said = netctl(world, &["status"])?;
        let words = ["node1  yes", "node2  yes", "tcx", "nothing is degraded"];
        said.expect(0, &words).map(Some)
    })?;
    let said = netctl(world, &["status", "-o", "json"])?.expect(0, &[])?;
    let nodes: Value = serde_json::from_str(&said.text)?;
    for node in nodes["nodes"].as_array().context("nodes")? {
        let programs = node["programs"].as_array().map_or(0, Vec::len);
        ensure!(
            programs > 0 && node["faults"] == Value::Array(Vec::new()),
            "{node}"
        );
    }
    Ok(())
}

fn netctl_status_names_a_node_whose_daemon_is_away(world: &World) -> Result<()> {
    world.cluster.kill(&node_process(2))?;
    let said = netctl(world, &["status"]);
    world.cluster.start_node(2)?;
    let said = said?.expect(1, &["node1  yes", "node2: does not answer: "])?;
    ensure!(!said.text.contains("nothing is degraded"), "{}", said.text);
    world.cluster.wait_ready()?;
    wait::until("netctl status after the restart", PATIENCE, || {
        let said = netctl(world, &["status"])?;
        said.expect(0, &["nothing is degraded"]).map(Some)
    })
    .map(drop)
}

fn metrics_of_a_node_tell_how_full_its_maps_are(world: &World) -> Result<()> {
    let path = "/api/v1/nodes/node1/proxy/metrics";
    let page = world.kubectl.run(&["get", "--raw", path])?;
    let value = |sample: &str| -> Result<f64> {
        let found = page.lines().find_map(|line| line.strip_prefix(sample));
        let text = found.with_context(|| format!("no {sample} in\n{page}"))?;
        Ok(text.trim().parse()?)
    };
    let of_services = |what: &str| value(&format!("naru_map_{what}{{map=\"SERVICES\"}}"));
    let (entries, room) = (of_services("entries")?, of_services("capacity")?);
    ensure!(entries > 0.0 && room == 65536.0, "{entries} of {room}");
    ensure!(of_services("pressure")? == entries / room, "{page}");
    let forwarded = value("naru_packets_total{hook=\"from_network\",reason=\"forwarded\"}")?;
    ensure!(forwarded > 0.0, "{page}");
    ensure!(
        page.contains("# TYPE naru_flows_opened_total counter"),
        "{page}"
    );
    Ok(())
}

/// A Service whose pod lets only `friend` in; `friend` and `stranger` on the other node.
fn stage(space: &Space<'_>) -> Result<()> {
    space.apply(&crate::world::landing_service("web", 1))?;
    for name in ["friend", "stranger"] {
        space.apply(&crate::world::landing_pod(name, Some(2)))?;
    }
    space.apply(&policy(
        "friends-only",
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}",
    ))?;
    space.run(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"template":{"spec":{"nodeName":"node1"}}}}"#,
    ])?;
    space.rolled_out("web")?;
    space.pods_ready(&["friend", "stranger"])?;
    wait::until("friend to reach web", PATIENCE, || {
        space.get_from("friend", "http://web/").map(Some)
    })?;
    wait::holds("stranger to be kept out", PATIENCE, || {
        space.get_from("stranger", "http://web/").is_err()
    })
}

fn netctl_observe_shows_flows_that_nobody_watched(world: &World) -> Result<()> {
    let space = world.namespace("past")?;
    stage(&space)?;
    let of = |more: &[&str]| netctl(world, &[&["observe", "-n", &space.name], more].concat());
    let pair = format!("{0}/friend:", space.name);
    let service = format!("(service {}/web)", space.name);
    let policy = format!("by ingress policy {}/friends-only", space.name);
    of(&["--pod", "friend"])?.expect(0, &["FORWARDED", &pair, &service, &policy])?;
    let drops =
        of(&["--verdict", "dropped"])?.expect(0, &["/stranger:", "policy-ingress", &policy])?;
    ensure!(!drops.text.contains("FORWARDED"), "{}", drops.text);
    let one = of(&["--last", "1", "--node", "node1"])?.expect(0, &[])?;
    ensure!(one.text.lines().count() == 1, "{}", one.text);
    let none = of(&["--pod", "nobody"])?.expect(0, &[])?;
    ensure!(none.text.is_empty(), "{}", none.text);
    Ok(())
}

/// A `netctl observe -f -o json` that writes to a file.
struct Follower {
    child: Child,
    file: PathBuf,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Follower {
    fn start(world: &World, dir: &tempfile::TempDir, filter: &[&str]) -> Result<Self> {
        let file = dir.path().join(filter.join("_").replace('/', "-"));
        let args = [&["observe", "-f", "-o", "json"], filter].concat();
        let child = command(world, &args)?
            .stdin(Stdio::null())
            .stdout(File::create(&file)?)
            .spawn()?;
        Ok(Self { child, file })
    }

    /// The complete lines so far.
    fn seen(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.file)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

fn is_end(flow: &Value, key: &str, value: &str) -> bool {
    ["source", "destination"]
        .iter()
        .any(|end| flow[end][key] == value)
}

fn netctl_observe_follows_what_its_filters_want(world: &World) -> Result<()> {
    let space = world.namespace("follow")?;
    stage(&space)?;
    let dir = tempfile::tempdir()?;
    let (name, service) = (space.name.clone(), format!("{}/web", space.name));
    type Wanted<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let in_space = |flow: &Value| is_end(flow, "namespace", &name);
    let filters: Vec<(Vec<&str>, Wanted<'_>)> = vec![
        (
            vec!["--pod", "friend", "-n", &name],
            Box::new(|f| is_end(f, "pod", "friend") && in_space(f)),
        ),
        (vec!["--namespace", &name], Box::new(in_space)),
        (
            vec!["--service", &service],
            Box::new(|f| f["service"] == service.as_str()),
        ),
        (
            vec!["--verdict", "dropped", "-n", &name],
            Box::new(|f| {
                f["verdict"] == "dropped"
                    && is_end(f, "pod", "stranger")
                    && f["policies"][0] == format!("{name}/friends-only")
            }),
        ),
        (
            vec!["--protocol", "udp", "-n", &name],
            Box::new(|f| f["protocol"] == "UDP"),
        ),
    ];
    let followers = filters
        .iter()
        .map(|(filter, _)| Follower::start(world, &dir, filter))
        .collect::<Result<Vec<_>>>()?;
    let traffic = || {
        space.get_from("friend", "http://web/").ok();
        space.get_from("stranger", "http://web/").ok();
    };
    wait::until("every follower to see its flows", PATIENCE, || {
        traffic();
        for (follower, (filter, wanted)) in followers.iter().zip(&filters) {
            let seen = follower.seen()?;
            let stray = seen.iter().find(|flow| !wanted(flow));
            // Nothing that comes later makes up for it, but the loop's end says it best.
            ensure!(
                stray.is_none(),
                "{filter:?} let through {}",
                stray.unwrap_or(&Value::Null)
            );
            ensure!(!seen.is_empty(), "nothing for {filter:?}");
        }
        Ok(Some(()))
    })?;
    // Starts are told to a follower, with the pod behind the Service by its name.
    let starts = followers[0].seen()?;
    let start = starts
        .iter()
        .find(|f| f["kind"] == "start" && f["service"] == service.as_str());
    let start = start.ok_or_else(|| anyhow!("no start in {starts:?}"))?;
    let pod = start["destination"]["pod"].as_str().unwrap_or_default();
    ensure!(
        pod.starts_with("web-") && start["source"]["pod"] == "friend",
        "{start}"
    );
    Ok(())
}

fn netctl_drops_names_reason_and_policy(world: &World) -> Result<()> {
    let space = world.namespace("drops")?;
    stage(&space)?;
    let stranger = format!("{}/stranger", space.name);
    let target = format!("(service {}/web)", space.name);
    let policy = format!("{}/friends-only", space.name);
    let said = netctl(world, &["drops", "-n", &space.name])?.expect(0, &[])?;
    let line = said.text.lines().find(|l| l.contains(&stranger));
    let line = line.ok_or_else(|| anyhow!("no line for {stranger}:\n{}", said.text))?;
    for word in ["policy-ingress", "TCP", "node1", &target, &policy] {
        ensure!(line.contains(word), "no {word} in {line:?}");
    }
    said.expect(0, &["policy-ingress: The pod is isolated for ingress"])
        .map(drop)
}

fn netctl_why_tells_each_hop_and_the_policy(world: &World) -> Result<()> {
    let space = world.namespace("why")?;
    stage(&space)?;
    let why = |pod: &str, target: &str| netctl(world, &["why", "-n", &space.name, pod, target]);
    let policy = format!("by policy {}/friends-only", space.name);
    let allowed = format!("ingress allowed {policy}");
    // From another node: both are asked, and the end is where the pod is.
    let words = [
        "on node node2",
        "on node node1",
        "service ",
        &allowed,
        "the connection is allowed",
    ];
    why("friend", "web:80")?.expect(0, &words)?;
    let isolated = format!("> x no rule allows it: the pod is isolated for ingress {policy}");
    let end = format!("the connection is dropped on node1: policy-ingress {policy}");
    let denied =
        why("stranger", "svc/web:http")?.expect(DROPPED, &["on node node2", &isolated, &end])?;
    ensure!(denied.text.matches(&policy).count() == 3, "{}", denied.text);
    // A pod as the target, by its port's name; and the same within one node.
    let name = space.run(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ])?;
    why("friend", &format!("pod/{name}:http"))?.expect(0, &["the connection is allowed"])?;
    // A Deployment stands for a pod of its own.
    let back = why("deploy/web", "pod/friend:8080")?;
    back.expect(0, &[&format!("pod {}/web-", space.name), "on node node2"])?;
    space.landing_pod("near", Some(1))?;
    let near = why("near", "web:80")?.expect(DROPPED, &["on node node1", &isolated])?;
    ensure!(!near.text.contains("node2"), "{}", near.text);
    let address = addresses::OUTSIDE.to_string();
    why("near", &format!("{address}:53"))?
        .expect(0, &["sent out of the uplink", "the connection is allowed"])?;
    Ok(())
}

fn netctl_why_says_what_is_missing(world: &World) -> Result<()> {
    let space = world.namespace("whynot")?;
    space.landing_pod("asker", None)?;
    space.apply("apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec: {selector: {app: nobody}, ports: [{port: 80}]}\n")?;
    let why = |pod: &str, target: &str| netctl(world, &["why", "-n", &space.name, pod, target]);
    wait::until("the service without endpoints", PATIENCE, || {
        let words = ["refused, the service has no ready endpoint", "no-backend"];
        why("asker", "empty:80")?.expect(DROPPED, &words).map(Some)
    })?;
    for (pod, target, complaint) in [
        (
            "nobody",
            "empty:80",
            format!("there is no pod {}/nobody", space.name),
        ),
        (
            "asker",
            "nothing:80",
            format!("there is no Service or pod {}/nothing", space.name),
        ),
        (
            "asker",
            "empty:81",
            format!("Service {}/empty has no port 81; it has 80", space.name),
        ),
    ] {
        let said = why(pod, target)?.expect(1, &[])?;
        ensure!(
            said.complaint.trim_end() == format!("netctl: {complaint}"),
            "{}",
            said.complaint
        );
    }
    Ok(())
}
