//! A node made of a containerd and the pod runtime, and everything that has to go at its end.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_cri::{Cri, v1};
use naru_node::pods::{self, cgroups};
use naru_node::{Config, Health, Shared, Watches};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::containerd::Containerd;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) api: Api,
    dir: PathBuf,
    cgroup: String,
    containerd: Containerd,
    daemon: Option<(CancellationToken, JoinHandle<()>)>,
    last: String,
}

impl Fixture {
    /// `None` on machines where no containerd can run.
    pub(crate) async fn start() -> Option<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let dir = std::env::temp_dir().join(format!("pt-{id}"));
        std::fs::create_dir_all(&dir).unwrap();
        let Some(containerd) = Containerd::start(&dir) else {
            let _ = std::fs::remove_dir_all(&dir);
            return None;
        };
        let api = Api::new(Watches::new());
        let cgroup = format!("/pt-{id}");
        let mut node = Self {
            api,
            dir,
            cgroup,
            containerd,
            daemon: None,
            last: String::new(),
        };
        node.start_daemon();
        Some(node)
    }

    pub(crate) fn start_daemon(&mut self) {
        let watches = Watches::new();
        self.api.attach(Arc::clone(&watches));
        let shared = Shared {
            config: Arc::new(self.config()),
            client: self.api.client(),
            watches,
            health: Arc::new(Health::default()),
            network: naru_node::network::Handle::default(),
        };
        let shutdown = CancellationToken::new();
        let run = pods::run(shared, shutdown.clone());
        let task = tokio::spawn(async move { run.await.unwrap() });
        self.daemon = Some((shutdown, task));
    }

    pub(crate) async fn stop_daemon(&mut self) {
        let (shutdown, task) = self.daemon.take().unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    fn config(&self) -> Config {
        let mut config = <Config as clap::Parser>::parse_from([
            "naru-node",
            "--node-name",
            "pt-node",
            "--node-ip",
            "127.0.0.1",
        ]);
        config.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
        config.cri_socket = self.containerd.socket();
        config.state_dir = self.state();
        config.cgroup_parent = self.cgroup.clone();
        config
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("node")
    }

    /// Creates a pod and returns its UID.
    pub(crate) fn create(&mut self, mut pod: Value) -> String {
        let uid = uuid::Uuid::new_v4().to_string();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        pod["metadata"]["uid"] = json!(uid);
        self.api.put("pods", &name, pod);
        self.last = name;
        uid
    }

    /// Marks a pod as deleted, as the API does for pods that are bound to a node.
    pub(crate) fn delete(&self, name: &str, grace: i64) {
        let now = jiff::Timestamp::now().to_string();
        let marked = self.api.change("pods", name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(now);
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            Some(())
        });
        assert!(marked.is_some(), "no pod {name}");
    }

    /// Removes a pod from the API without a word.
    pub(crate) fn forget(&self, name: &str) {
        self.api.remove("pods", name);
    }

    /// Waits for a state of the pod created last.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until_named(&self.last.clone(), what, holds).await
    }

    pub(crate) async fn until_named(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        self.wait(what, || self.api.pod(name).is_some_and(|pod| holds(&pod)))
            .await;
        self.api.pod(name).unwrap()
    }

    pub(crate) async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {:#}",
                json!(self.api.list("pods"))
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything that runs on the node.
    pub(crate) async fn containers(&self) -> Vec<String> {
        let cri = Cri::new(&self.containerd.socket());
        let list = cri
            .list_containers(v1::ListContainersRequest::default())
            .await
            .unwrap();
        list.containers
            .into_iter()
            .map(|container| container.id)
            .collect()
    }

    /// Directories of the pod's cgroup that still exist.
    pub(crate) fn cgroups_of(&self, uid: &str) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let below = format!("{}/pod{uid}", self.cgroup.trim_start_matches('/'));
        let all = cgroups::hierarchies(&table)
            .into_iter()
            .map(|hierarchy| hierarchy.join(&below));
        all.filter(|path| path.exists()).collect()
    }
}

/// Runs also when a claim has failed: sandboxes would outlive their containerd.
impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some((shutdown, task)) = self.daemon.take() {
            shutdown.cancel();
            task.abort();
        }
        let socket = self.containerd.socket();
        let _ = std::thread::spawn(move || end_all(&socket)).join();
        let _ = pods::volumes::mounts::release(&self.dir.join("node"));
        for _ in 0..50 {
            if cgroups::remove(&self.cgroup).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = pods::volumes::mounts::release(&self.dir);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn end_all(socket: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cri = Cri::new(socket);
        let list = cri
            .list_pod_sandbox(v1::ListPodSandboxRequest::default())
            .await;
        for sandbox in list.map(|list| list.items).unwrap_or_default() {
            let id = sandbox.id;
            let stop = v1::StopPodSandboxRequest {
                pod_sandbox_id: id.clone(),
            };
            let _ = cri.stop_pod_sandbox(stop).await;
            let _ = cri
                .remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id })
                .await;
        }
    });
}
