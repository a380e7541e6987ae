//! A real `naru-control` on a free port, and nodes that are API objects only: a task posts their
//! leases, makes bound pods ready and lets terminating pods go, through the API like any node.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod extension;
pub(crate) mod hooks;
pub(crate) mod http;
pub(crate) mod issuer;

use futures_util::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Bound of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses for documentation (RFC 5737): published as endpoints, never connected to.
const ADVERTISED: &str = "192.0.2";

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A control plane of its own.
pub(crate) struct Control {
    child: Child,
    data: TempDir,
    port: u16,
    advertised: String,
    args: Vec<String>,
    /// An administrator's client.
    pub(crate) client: Client,
}

impl Control {
    /// Starts one; `args` come after the usual ones.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        Self::start_on(data, format!("{ADVERTISED}.1"), args).await
    }

    /// Starts one more with the authorities of `other`, as the `number`th of its cluster.
    pub(crate) async fn start_beside(other: &Self, number: usize, args: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(other.dir().join("pki"))
            .arg(data.path())
            .status();
        assert!(copied.unwrap().success());
        Self::start_on(data, format!("{ADVERTISED}.{number}"), args).await
    }

    async fn start_on(data: TempDir, advertised: String, args: &[&str]) -> Self {
        let port = free_port();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let child = spawn(&data, port, &advertised, &args);
        let client = connect(data.path(), port).await;
        Control {
            child,
            data,
            port,
            advertised,
            args,
            client,
        }
    }

    /// Ends it with SIGTERM.
    pub(crate) async fn terminate(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.unwrap().success());
        let ended = eventually("it ends", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        });
        assert!(ended.await.success(), "{}", self.log());
    }

    /// Ends it with SIGKILL and starts it again on the same directory and port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it on the same directory and port, once it is dead.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.data, self.port, &self.advertised, &self.args);
        self.client = connect(self.data.path(), self.port).await;
    }

    /// A client of somebody for whom the administrator speaks.
    pub(crate) async fn client_as(&self, user: &str) -> Client {
        let config = Kubeconfig::read_from(self.dir().join("admin.kubeconfig"));
        let mut config = config.unwrap();
        let admin = config.auth_infos[0].auth_info.as_mut();
        admin.unwrap().impersonate = Some(user.to_owned());
        client(config, self.port).await.unwrap()
    }

    /// A client that shows nothing but a bearer token.
    pub(crate) async fn bearer(&self, token: &str) -> Client {
        self.shown(json!({"token": token})).await
    }

    /// A client that shows this and nothing else, the `user` of a kubeconfig.
    pub(crate) async fn shown(&self, user: Value) -> Client {
        let config = Kubeconfig::read_from(self.dir().join("admin.kubeconfig"));
        let mut config = config.unwrap();
        config.auth_infos[0].auth_info = Some(serde_json::from_value(user).unwrap());
        client(config, self.port).await.unwrap()
    }

    /// Where it keeps everything.
    pub(crate) fn dir(&self) -> &Path {
        self.data.path()
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }

    /// Objects of a namespaced kind.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates an object from JSON.
    pub(crate) async fn create<K>(&self, api: &Api<K>, object: Value) -> K
    where
        K: kube::Resource + Clone + DeserializeOwned + serde::Serialize + Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Makes a namespace.
    pub(crate) async fn namespace(&self, name: &str) {
        self.create(
            &Api::<k8s_openapi::api::core::v1::Namespace>::all(self.client.clone()),
            json!({"metadata": {"name": name}}),
        )
        .await;
    }

    /// Resident memory in KiB.
    pub(crate) fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Files and connections that it has open.
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.unwrap().count()
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // After the state letter: utime and stime are the 11th and 12th numbers, in 1/100 s.
        Duration::from_millis((fields[10] + fields[11]) * 10)
    }
}

fn spawn(data: &TempDir, port: u16, advertised: &str, args: &[String]) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.path().join("log"))
        .unwrap();
    Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--advertise-address",
            advertised,
            "--data-dir",
        ])
        .arg(data.path())
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

async fn connect(data: &Path, port: u16) -> Client {
    eventually("the API answers", || async {
        let client = client_of(&data.join("admin.kubeconfig"), port).await?;
        client.apiserver_version().await.ok()?;
        Some(client)
    })
    .await
}

/// A client with the credentials of a kubeconfig, once that is there.
pub(crate) async fn client_of(kubeconfig: &Path, port: u16) -> Option<Client> {
    client(Kubeconfig::read_from(kubeconfig).ok()?, port).await
}

async fn client(config: Kubeconfig, port: u16) -> Option<Client> {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await;
    let mut config = config.ok()?;
    config.cluster_url = format!("https://127.0.0.1:{port}").parse().ok()?;
    // A refusal is what many tests look for, not a reason to ask again.
    config.default_retry = false;
    Client::try_from(config).ok()
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of naru-control\n{}", self.log());
        }
    }
}

/// Waits until `check` answers something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A node without a machine.
pub(crate) struct Machine {
    tasks: tokio::task::JoinSet<()>,
    client: Client,
    name: String,
}

static ADDRESSES: AtomicU32 = AtomicU32::new(2);

impl Machine {
    /// Registers node `name` and lives for it until dropped.
    pub(crate) async fn start(control: &Control, name: &str) -> Self {
        let client = control.client.clone();
        let mut machine = Machine {
            tasks: tokio::task::JoinSet::new(),
            client,
            name: name.into(),
        };
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        control
            .create(&Api::<Node>::all(machine.client.clone()), node)
            .await;
        machine.revive().await;
        machine
    }

    /// Posts a ready status and starts to renew the lease and to run pods.
    pub(crate) async fn revive(&mut self) {
        renew(&self.client, &self.name).await;
        let status = json!({"status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": jiff::Timestamp::now().to_string()}]}});
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .unwrap();
        self.tasks
            .spawn(keep_alive(self.client.clone(), self.name.clone()));
        self.tasks
            .spawn(run_pods(self.client.clone(), self.name.clone()));
    }

    /// Falls silent.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn keep_alive(client: Client, name: String) {
    loop {
        renew(&client, &name).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn renew(client: &Client, name: &str) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40,
        "renewTime": format!("{:.6}", jiff::Timestamp::now())});
    let patch = json!({"spec": spec});
    if leases
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .is_err()
    {
        let lease =
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        let _ = leases.create(&PostParams::default(), &lease).await;
    }
}

async fn run_pods(client: Client, name: String) {
    let pods: Api<Pod> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={name}"));
    let events = watcher(pods, config).default_backoff().applied_objects();
    let _ = events
        .try_for_each(|pod| {
            let client = client.clone();
            async move {
                run_pod(&client, &pod).await;
                Ok(())
            }
        })
        .await;
}

async fn run_pod(client: &Client, pod: &Pod) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
    if pod.metadata.deletion_timestamp.is_some() {
        let _ = pods
            .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await;
        return;
    }
    let image = pod.spec.as_ref().unwrap().containers[0]
        .image
        .clone()
        .unwrap_or_default();
    let ready = if image.contains("broken") {
        "False"
    } else {
        "True"
    };
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    if conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == ready)
    {
        return;
    }
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.clone())
        .unwrap_or_else(|| {
            let number = ADDRESSES.fetch_add(1, Ordering::Relaxed);
            format!("10.244.{}.{}", number / 250, number % 250)
        });
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())
        .unwrap()
        .to_string();
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "Ready", "status": ready, "lastTransitionTime": now}]}});
    let _ = pods
        .patch_status(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&status),
        )
        .await;
}

/// A Deployment of `replicas` pods labelled `app: NAME`.
pub(crate) fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image,
                    "ports": [{"name": "http", "containerPort": 8080}]}]}}},
    })
}
