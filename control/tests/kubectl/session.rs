//! One session, typed with every kubectl that is on the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Control, eventually};

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: \"i:1\"}]}
";

/// Every kubectl of the machine by its version: those on the path, those that stand beside what a
/// link on the path leads to, and the one that `cargo xtask` got.
fn kubectls() -> BTreeMap<(u32, u32), PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let linked = |dir: &PathBuf| Some(dir.join("kubectl").canonicalize().ok()?.parent()?.into());
    let linked: Vec<PathBuf> = dirs.iter().filter_map(linked).collect();
    let target = Path::new(env!("CARGO_BIN_EXE_naru-control")).ancestors();
    dirs.extend(linked);
    dirs.extend(target.skip(1).map(|dir| dir.join("tools/bin")));
    let files = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok());
    let files = files.flatten().flatten().map(|file| file.path());
    let versions = files.filter_map(|file| Some((version(&file)?, file)));
    versions.collect()
}

/// What `kubectl`, `kubectl.1.33` or `kubectl-1.20` says that it is; none if it is something else.
fn version(program: &Path) -> Option<(u32, u32)> {
    let name = program.file_name()?.to_str()?.strip_prefix("kubectl")?;
    if !name.is_empty() && !name.starts_with(".1.") && !name.starts_with("-1.") {
        return None;
    }
    let told = Command::new(program)
        .args(["version", "--client", "-o", "json"])
        .output();
    let told: serde_json::Value = serde_json::from_slice(&told.ok()?.stdout).ok()?;
    let number = |key: &str| {
        let digits = told["clientVersion"][key].as_str()?;
        // Vendors append signs ("32+").
        let digits = digits.trim_end_matches(|sign: char| !sign.is_ascii_digit());
        digits.parse().ok()
    };
    Some((number("major")?, number("minor")?))
}

/// Somebody at work in a namespace of his own.
struct Session<'a> {
    control: &'a Control,
    namespace: String,
}

impl Session<'_> {
    fn args<'a>(&'a self, line: &'a str) -> Vec<&'a str> {
        let own = ["-n", self.namespace.as_str()];
        own.into_iter().chain(line.split(' ')).collect()
    }

    /// Runs what is typed, which must succeed.
    fn run(&self, line: &str) -> String {
        self.control.kubectl(&self.args(line))
    }

    /// Runs what is typed with `input`, whose answer must contain `expected`.
    fn feed(&self, line: &str, input: &str, expected: &str) {
        let said = self.control.kubectl_in(&self.args(line), input);
        let namespace = &self.namespace;
        assert!(said.contains(expected), "{namespace}: {line}: {said}");
    }

    /// Runs what is typed, whose answer must contain `expected`.
    fn says(&self, line: &str, expected: &str) {
        self.feed(line, "", expected);
    }

    /// Runs what is typed, which must fail with a complaint that contains `expected`.
    fn fails(&self, line: &str, input: &str, expected: &str) {
        let why = self.control.kubectl_fails(&self.args(line), input);
        let namespace = &self.namespace;
        assert!(why.contains(expected), "{namespace}: {line}: {why}");
    }
}

#[test]
fn every_kubectl_of_the_machine_gets_through_a_session() {
    let mut control = Control::start();
    let kubectls = kubectls();
    assert!(!kubectls.is_empty(), "there is no kubectl on this machine");
    for ((major, minor), program) in &kubectls {
        println!("kubectl {major}.{minor}: {}", program.display());
        control.with(program);
        let namespace = format!("v{major}-{minor}");
        control.kubectl(&["create", "namespace", &namespace]);
        let session = Session {
            control: &control,
            namespace,
        };
        looks_around(&session);
        applies(&session);
        changes(&session);
        shares_with_others(&session);
        rolls_out(&session);
        drains(&session);
        cleans_up(&session);
    }
    println!("{} kubectls got through", kubectls.len());
}

fn looks_around(session: &Session<'_>) {
    session.says("version", "Server Version");
    session.says("api-versions", "apps/v1");
    session.says("api-resources --namespaced=true", "deployments");
    session.says("explain deployment.spec.replicas", "replicas");
    session.says("auth can-i create deployments", "yes");
    session.says("get --raw /readyz", "ok");
    session.fails("get nothing", "", "the server doesn't have a resource type");
    session.fails("get configmap none", "", "NotFound");
}

fn applies(session: &Session<'_>) {
    session.feed("apply -f -", WEB, "created");
    session.feed("apply -f -", WEB, "unchanged");
    let changed = WEB.replace("i:1", "i:2");
    session.feed("apply --dry-run=server -f -", &changed, "server dry run");
    let differs = session
        .control
        .kubectl_with(&session.args("diff -f -"), &changed);
    assert_eq!(differs.status.code(), Some(1), "{differs:?}");
    let differs = String::from_utf8_lossy(&differs.stdout);
    assert!(differs.contains("+      - image: i:2"), "{differs}");
    session.feed("apply -f -", &changed, "configured");
    session.feed("replace -f -", WEB, "replaced");
    let wrong = WEB.replace("name: web,", "name: Web_,");
    session.fails("apply -f -", &wrong, "metadata.name");
    session.fails("create -f -", WEB, "AlreadyExists");
}

fn changes(session: &Session<'_>) {
    session.run("label deployment web tier=front");
    session.run("annotate deployment web note=seen");
    session.says(
        "get deployment -l tier=front -o name",
        "deployment.apps/web",
    );
    session.says("get deployment web -o wide", "CONTAINERS");
    session.says("get deploy --show-labels", "tier=front");
    session.says("get all --field-selector metadata.name=web -o name", "web");
    session.says("describe deployment web", "tier=front");
    let columns = "get deployment -o custom-columns=N:.metadata.name,R:.spec.replicas";
    session.says(columns, "web   0");
    session.run(
        r#"patch deployment web -p {"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1"}]}]}}}}"#,
    );
    let image = "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(session.run(image), "i:1");
    session.run(
        r#"patch deployment web --type=json -p [{"op":"add","path":"/metadata/labels/more","value":"1"}]"#,
    );
    session.run(r#"patch deployment web --type=merge -p {"metadata":{"labels":{"tier":null}}}"#);
    let labels = session.run("get deployment web -o jsonpath={.metadata.labels}");
    assert_eq!(labels, r#"{"app":"web","more":"1"}"#);
    session.run("create configmap c --from-literal=a=b");
    session.run("create secret generic s --from-literal=a=b");
    assert_eq!(session.run("get secret s -o jsonpath={.data.a}"), "Yg==");
    session.run("create role reader --verb=get,list --resource=pods");
    session.run("create rolebinding jane --role=reader --user=jane");
    session.says("auth can-i list pods --as jane", "yes");
}

fn shares_with_others(session: &Session<'_>) {
    let apply = "apply --server-side -f -";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: \"1\"}\n";
    session.feed("apply -f -", map, "created");
    // What was applied by the client is taken over.
    let changed = map.replace("\"1\"", "\"2\"");
    session.feed(apply, &changed, "serverside-applied");
    let value = "get cm a -o jsonpath={.data.x}";
    assert_eq!(session.run(value), "2");
    session.run(r#"patch cm a --type=merge -p {"data":{"x":"3"}}"#);
    session.fails(apply, &changed, "conflict with \"kubectl-patch\"");
    let forced = format!("{apply} --force-conflicts");
    session.feed(&forced, &changed, "serverside-applied");
    assert_eq!(session.run(value), "2");
}

fn rolls_out(session: &Session<'_>) {
    session.run("set image deployment/web c=i:3");
    session.says(
        "rollout status deployment/web --timeout=60s",
        "successfully rolled out",
    );
    session.run("wait --for=condition=Available --timeout=60s deployment/web");
    session.says("rollout history deployment/web", "REVISION");
    session.run("rollout undo deployment/web");
    let image = "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(session.run(image), "i:1");
    session.run("scale deployment web --replicas=1");
    // There is no node for it.
    eventually("the pod is there", || {
        let pods = session.run("get pods -l app=web -o name");
        pods.lines().count() == 1
    });
    session.says("get pods", "Pending");
    session.run("expose deployment web --port=80");
    session.says("get service web", "80/TCP");
}

/// A pod of the budget below that runs and is ready as far as anybody can tell; on a node without a
/// machine, or on none.
fn running(session: &Session<'_>, name: &str, node: &str) {
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: shop}}}}\nspec: \
        {{schedulerName: nobody, nodeName: {node:?}, terminationGracePeriodSeconds: 0, \
        containers: [{{name: c, image: i}}]}}\n"
    );
    session.feed("create -f -", &pod, "created");
    let shown = session.run(&format!("get pod {name} -o json"));
    let mut pod: serde_json::Value = serde_json::from_str(&shown).unwrap();
    pod["status"] = serde_json::json!({"phase": "Running", "conditions":
        [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let namespace = &session.namespace;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
    session.feed(&format!("replace --raw {path} -f -"), &pod.to_string(), "");
}

/// A node is drained: it waits for the budget, and goes on when another pod is ready.
fn drains(session: &Session<'_>) {
    let node = format!("n-{}", session.namespace);
    let object = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n");
    session.feed("create -f -", &object, "created");
    running(session, "one", &node);
    running(session, "two", &node);
    // Older clients would create one of a version that is no more.
    let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: shop}\nspec: \
        {minAvailable: 1, selector: {matchLabels: {app: shop}}}\n";
    session.feed("apply -f -", budget, "created");
    let allowed = "get pdb shop -o jsonpath={.status.disruptionsAllowed}";
    eventually("one may go", || session.run(allowed) == "1");
    let drain = format!("drain {node} --force --ignore-daemonsets --timeout=60s");
    let file = session.control.dir().join(&node);
    let mut draining = session.control.start_kubectl(&session.args(&drain), &file);
    let said = || std::fs::read_to_string(&file).unwrap();
    eventually("the second one may not", || {
        said().contains("Cannot evict pod as it would violate the pod's disruption budget.")
    });
    let left = session.run("get pods -l app=shop -o name");
    assert_eq!(left.lines().count(), 1, "{left}");
    running(session, "three", "");
    assert!(draining.wait().unwrap().success(), "{}", said());
    assert_eq!(
        session.run("get pods -l app=shop -o name").trim(),
        "pod/three"
    );
    session.run(&format!("delete node {node}"));
    session.run("delete pdb shop");
}

fn cleans_up(session: &Session<'_>) {
    session.run("delete configmap a --wait=true");
    session.fails("get configmap a", "", "NotFound");
    session.run("delete deployment web --cascade=foreground --timeout=60s");
    assert_eq!(session.run("get replicasets -o name"), "");
    let namespace = session.namespace.clone();
    session.says(
        &format!("delete namespace {namespace} --timeout=60s"),
        "deleted",
    );
    session.fails("get configmap c", "", "NotFound");
}
