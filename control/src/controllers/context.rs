//! What every controller is given: settings, caches, a writer and a recorder.

use super::range::Ipv4Range;
use super::runtime::{Kind, Recorder, Store, Writer};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::runtime::watcher;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Settings of the controllers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The range that node ranges are cut from, such as `10.244.0.0/16`.
    pub pod_cidr: Ipv4Range,
    /// Prefix length of one node's range.
    pub node_mask: u8,
    /// How long a node may be silent before it counts as unreachable.
    pub node_grace: Duration,
    /// The cluster's CA in PEM, published as ConfigMap `kube-root-ca.crt` in every namespace.
    pub ca_pem: String,
}

/// One cache per kind that some controller reads.
pub struct Caches {
    /// Pods.
    pub pods: Arc<Store<Pod>>,
    /// Nodes.
    pub nodes: Arc<Store<Node>>,
    /// Node heartbeats.
    pub leases: Arc<Store<Lease>>,
    /// Namespaces.
    pub namespaces: Arc<Store<Namespace>>,
    /// Service accounts.
    pub accounts: Arc<Store<ServiceAccount>>,
    /// The ConfigMaps named `kube-root-ca.crt`, and no others.
    pub root_cas: Arc<Store<ConfigMap>>,
    /// Services.
    pub services: Arc<Store<Service>>,
    /// Endpoints.
    pub endpoints: Arc<Store<Endpoints>>,
    /// Endpoint slices.
    pub slices: Arc<Store<EndpointSlice>>,
    /// Replica sets.
    pub replicasets: Arc<Store<ReplicaSet>>,
    /// Deployments.
    pub deployments: Arc<Store<Deployment>>,
}

impl Caches {
    fn new() -> Self {
        Caches {
            pods: Arc::new(Store::trimmed(trim_pod)),
            nodes: Arc::new(Store::trimmed(trim_node)),
            leases: Arc::default(),
            namespaces: Arc::default(),
            accounts: Arc::default(),
            root_cas: Arc::default(),
            services: Arc::default(),
            endpoints: Arc::default(),
            slices: Arc::default(),
            replicasets: Arc::default(),
            deployments: Arc::default(),
        }
    }

    /// Starts one watch per kind in `tasks`; dropping or aborting these ends the watches.
    pub fn follow(&self, client: &Client, tasks: &mut JoinSet<()>) {
        let all = watcher::Config::default;
        follow(&self.pods, client, all(), tasks);
        follow(&self.nodes, client, all(), tasks);
        follow(&self.leases, client, all(), tasks);
        follow(&self.namespaces, client, all(), tasks);
        follow(&self.accounts, client, all(), tasks);
        follow(
            &self.root_cas,
            client,
            all().fields("metadata.name=kube-root-ca.crt"),
            tasks,
        );
        follow(&self.services, client, all(), tasks);
        follow(&self.endpoints, client, all(), tasks);
        follow(&self.slices, client, all(), tasks);
        follow(&self.replicasets, client, all(), tasks);
        follow(&self.deployments, client, all(), tasks);
    }

    /// Waits until every cache holds a complete list.
    pub async fn wait_synced(&self) {
        self.pods.wait_synced().await;
        self.nodes.wait_synced().await;
        self.leases.wait_synced().await;
        self.namespaces.wait_synced().await;
        self.accounts.wait_synced().await;
        self.root_cas.wait_synced().await;
        self.services.wait_synced().await;
        self.endpoints.wait_synced().await;
        self.slices.wait_synced().await;
        self.replicasets.wait_synced().await;
        self.deployments.wait_synced().await;
    }
}

fn follow<K: Kind>(
    store: &Arc<Store<K>>,
    client: &Client,
    config: watcher::Config,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(store.clone().follow(client.clone(), config));
}

/// No controller reads how a container is started, only what it is called and where it listens.
fn trim_pod(pod: &mut Pod) {
    let Some(spec) = pod.spec.as_mut() else {
        return;
    };
    spec.volumes = None;
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        container.env = None;
        container.command = None;
        container.args = None;
        container.volume_mounts = None;
        container.liveness_probe = None;
        container.readiness_probe = None;
        container.startup_probe = None;
        container.lifecycle = None;
    }
}

fn trim_node(node: &mut Node) {
    if let Some(status) = node.status.as_mut() {
        status.images = None;
    }
}

/// Everything a controller works with.
pub struct Context {
    /// Settings.
    pub config: Config,
    /// Shared caches.
    pub caches: Caches,
    /// Writes.
    pub writer: Writer,
    /// Events.
    pub events: Recorder,
}

impl Context {
    /// A context over `client`, and the task that writes its events.
    pub fn new(
        client: Client,
        config: Config,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let writer = Writer::new(client);
        let (events, background) = Recorder::new("controller-manager", writer.clone());
        (
            Context {
                config,
                caches: Caches::new(),
                writer,
                events,
            },
            background,
        )
    }
}
