//! The cluster as the tests see it, with the few verbs that they share.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::daemons::{CONTROL_PROCESS, node_process};
use naru_tests::support::{Cluster, Families, Kubectl, Layout, Routing, Spec, run, wait};

use crate::kubectl::Running;

/// Long enough for anything that a healthy cluster does, on a busy machine of two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster and the kubectl programs to drive it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// The newest kubectl of the machine.
    pub(crate) kubectl: Kubectl,
    /// The oldest that must work, 1.20.
    pub(crate) oldest: Kubectl,
}

impl World {
    /// Starts a cluster, or completes one that was kept.
    pub(crate) fn start(name: &str, families: Families, routing: Routing) -> Result<Self> {
        let newest =
            std::env::var_os("NARU_KUBECTL").map_or_else(|| "kubectl".into(), PathBuf::from);
        let layout = Layout::of_checkout(name)?;
        let oldest = layout.tool("kubectl-1.20");
        ensure!(
            oldest.exists(),
            "{} is missing: run `cargo xtask test`",
            oldest.display()
        );
        let cluster = Cluster::up(
            layout,
            &Spec {
                nodes: 2,
                families,
                routing,
                kubectl: newest.clone(),
            },
        )?;
        let (kubectl, oldest) = (cluster.kubectl_of(newest), cluster.kubectl_of(oldest));
        Ok(Self {
            cluster,
            kubectl,
            oldest,
        })
    }

    /// What helps to understand a failure: the ends of the daemons' logs.
    pub(crate) fn evidence(&self) -> String {
        let names = self
            .cluster
            .nodes()
            .map(node_process)
            .chain([CONTROL_PROCESS.to_owned()]);
        let tails: Vec<_> = names.map(|name| self.cluster.log_tail(&name, 12)).collect();
        tails.join("\n")
    }

    /// A namespace for one test; anything left in it by an earlier run is gone.
    pub(crate) fn namespace(&self, name: &str) -> Result<Space<'_>> {
        let name = format!("t-{name}");
        self.kubectl.run(&[
            "delete",
            "namespace",
            &name,
            "--ignore-not-found",
            "--timeout=60s",
        ])?;
        let object = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
        self.kubectl.pipe(&["create", "-f", "-"], &object)?;
        Ok(Space { world: self, name })
    }

    /// Does the same with the newest and the oldest kubectl, each in a namespace of its own.
    pub(crate) fn with_both(
        &self,
        name: &str,
        act: impl Fn(&Kubectl, &Space<'_>) -> Result<()>,
    ) -> Result<()> {
        for (kubectl, age) in [(&self.kubectl, "new"), (&self.oldest, "old")] {
            let space = self.namespace(&format!("{name}-{age}"))?;
            let program = kubectl.program().display().to_string();
            act(kubectl, &space).with_context(|| format!("with {program}"))?;
        }
        Ok(())
    }

    /// Runs a command outside the cluster and returns what it printed.
    pub(crate) fn outside(&self, words: &[&str]) -> Result<String> {
        run::checked(self.cluster.inside("outside").args(words))
    }

    /// Runs a command among the processes of node `k`.
    pub(crate) fn on_node(&self, k: u8, words: &[&str]) -> Result<String> {
        run::checked(self.cluster.inside(&format!("node{k}")).args(words))
    }

    /// GET from outside the cluster; status code and body.
    pub(crate) fn get_outside(&self, url: &str, host: Option<&str>) -> Result<(u16, String)> {
        let header = host.map(|h| format!("Host: {h}"));
        let mut words = vec![
            "curl",
            "--silent",
            "--globoff",
            "--show-error",
            "--max-time",
            "3",
            "--write-out",
            "\n%{http_code}",
        ];
        words.extend(header.iter().flat_map(|h| ["--header", h]));
        words.push(url);
        let output = self.outside(&words)?;
        let (body, code) = output.rsplit_once('\n').context("curl printed no code")?;
        Ok((code.parse()?, body.to_owned()))
    }

    /// The program of the test images, on this machine.
    pub(crate) fn landing(&self) -> Result<String> {
        let triple = format!(
            "{}-unknown-linux-gnu/release/landing",
            std::env::consts::ARCH
        );
        let path = self.cluster.layout.target().join(triple);
        ensure!(
            path.is_file(),
            "{} is missing: run `cargo xtask test`",
            path.display()
        );
        Ok(path.to_string_lossy().into_owned())
    }
}

/// A namespace that is deleted when the test is over.
pub(crate) struct Space<'a> {
    pub(crate) world: &'a World,
    pub(crate) name: String,
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        self.run(&["delete", "namespace", &self.name, "--wait=false"])
            .ok();
    }
}

impl Space<'_> {
    /// Runs kubectl in this namespace.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        self.world.kubectl.run(&self.scoped(args))
    }

    /// Applies objects.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String> {
        self.world
            .kubectl
            .pipe(&self.scoped(&["apply", "-f", "-"]), yaml)
    }

    /// One field of an object, by jsonpath without braces.
    pub(crate) fn field(&self, object: &str, path: &str) -> Result<String> {
        let output = format!("jsonpath={{{path}}}");
        self.run(&["get", object, "-o", &output])
    }

    /// Waits until a field has a value that satisfies `good`.
    pub(crate) fn field_becomes(
        &self,
        object: &str,
        path: &str,
        good: impl Fn(&str) -> bool,
    ) -> Result<String> {
        wait::until(&format!("{object} {path}"), PATIENCE, || {
            let value = self.field(object, path)?;
            if good(&value) {
                Ok(Some(value))
            } else {
                Err(anyhow!("it is {value:?}"))
            }
        })
    }

    /// Waits until pods are Ready; with a failure comes what they say of themselves.
    pub(crate) fn pods_ready(&self, selector: &[&str]) -> Result<()> {
        let args = [
            &["wait", "--for=condition=Ready", "--timeout=60s", "pod"],
            selector,
        ]
        .concat();
        self.run(&args).map(drop).map_err(|error| {
            let pods = self.run(&["describe", "pods"]).unwrap_or_default();
            anyhow!("{error:#}\n{pods}")
        })
    }

    /// Starts a pod of the landing image and waits until it is Ready.
    pub(crate) fn landing_pod(&self, name: &str, node: Option<u8>) -> Result<()> {
        self.apply(&landing_pod(name, node))?;
        self.pods_ready(&[name])
    }

    /// Starts a Deployment of landing servers with a Service on port 80, and waits for it.
    pub(crate) fn landing_service(&self, name: &str, replicas: u8) -> Result<()> {
        self.apply(&landing_service(name, replicas))?;
        self.rolled_out(name)
    }

    /// Waits until a Deployment has rolled out.
    pub(crate) fn rolled_out(&self, name: &str) -> Result<()> {
        let deployment = format!("deployment/{name}");
        self.run(&["rollout", "status", &deployment, "--timeout=60s"])
            .map(drop)
            .map_err(|error| {
                let pods = self.run(&["describe", "pods"]).unwrap_or_default();
                anyhow!("{error:#}\n{pods}")
            })
    }

    /// Runs a command in a pod and returns what it printed.
    pub(crate) fn exec(&self, pod: &str, words: &[&str]) -> Result<String> {
        self.run(&[&["exec", pod, "--"], words].concat())
    }

    /// GET from within a pod.
    pub(crate) fn get_from(&self, pod: &str, url: &str) -> Result<String> {
        self.exec(pod, &["/landing", "get", "--url", url])
    }

    /// Starts a command in a pod that ends when its standard input is closed.
    pub(crate) fn background(&self, pod: &str, words: &[&str]) -> Result<Background> {
        let args = [&["exec", "-i", pod, "--"], words].concat();
        Background::start(self.world.kubectl.command(&self.scoped(&args)))
    }

    /// Starts a command in a pod that is ended when dropped, whatever it says.
    pub(crate) fn background_quietly(&self, pod: &str, words: &[&str]) -> Result<Running> {
        let args = [&["exec", pod, "--"], words].concat();
        let mut command = self.world.kubectl.command(&self.scoped(&args));
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Running(quiet.spawn()?))
    }

    fn scoped<'b>(&'b self, args: &[&'b str]) -> Vec<&'b str> {
        [&["-n", &self.name], args].concat()
    }
}

/// A load that runs beside a test.
pub(crate) struct Background {
    child: Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Background {
    /// Starts it and waits until it says `started`.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        use std::io::BufRead;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut lines = std::io::BufReader::new(stdout).lines();
        let first = lines.next().transpose()?;
        ensure!(
            first.as_deref() == Some("started"),
            "the load said {first:?}"
        );
        Ok(Self { child, lines })
    }

    /// Ends it and returns its counts.
    pub(crate) fn finish(mut self) -> Result<Counts> {
        drop(self.child.stdin.take());
        let said = self.lines.by_ref().collect::<Result<Vec<_>, _>>()?;
        self.child.wait()?;
        Ok(Counts {
            text: said.join("\n"),
        })
    }
}

/// What `landing load` or `landing stream` counted.
pub(crate) struct Counts {
    /// All that it printed.
    pub(crate) text: String,
}

impl Counts {
    /// The number behind a word of the last line.
    pub(crate) fn number(&self, what: &str) -> Result<u64> {
        let last = self.text.lines().last().unwrap_or_default();
        let mut words = last.split(' ');
        words
            .find(|w| *w == what)
            .and_then(|_| words.next()?.parse().ok())
            .with_context(|| format!("no {what} in {:?}", self.text))
    }

    /// Fails unless enough was asked and nothing failed.
    pub(crate) fn flawless(&self, at_least: u64) -> Result<()> {
        let (requests, failures) = (self.number("requests")?, self.number("failures")?);
        ensure!(failures == 0 && requests >= at_least, "{}", self.text);
        Ok(())
    }
}

/// A pod that serves on port 8080, its node chosen by hand if wanted.
pub(crate) fn landing_pod(name: &str, node: Option<u8>) -> String {
    let place = node
        .map(|k| format!("nodeName: node{k}"))
        .unwrap_or_default();
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  {place}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve]
    readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
"
    )
}

/// A Deployment of servers, and a Service of the same name.
pub(crate) fn landing_service(name: &str, replicas: u8) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: main
        image: naru.dev/landing:v1
        args: [serve]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /health, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"
    )
}
