//! What every controller is given: settings, caches, a writer and a recorder.

use super::balancers::pool::AddressPool;
use super::range::Range;
use super::runtime::lean::Pod;
use super::runtime::{Recorder, Start, Store, Writer, pod};
use crate::pki::{Authority, TOKEN_TYPE};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, ResourceQuota,
    Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use kube::runtime::watcher;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the controllers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The ranges that node ranges are cut from, such as `10.244.0.0/16`: one, or one of each
    /// family, the first of which comes first everywhere.
    pub pod_cidrs: Vec<Range>,
    /// Prefix length of one node's IPv4 range.
    pub node_mask: u8,
    /// How long a node may be silent before it counts as unreachable.
    pub node_grace: Duration,
    /// The cluster's authority: its certificate is published as ConfigMap `kube-root-ca.crt` in every
    /// namespace, and it signs what is approved.
    pub authority: Arc<Authority>,
}

/// One cache per kind that some controller reads.
pub struct Caches {
    /// Pods, grouped by their node.
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
    /// The ConfigMap `kube-public/cluster-info`, and no others.
    pub cluster_infos: Arc<Store<ConfigMap>>,
    /// Bootstrap tokens, and no other Secrets.
    pub tokens: Arc<Store<Secret>>,
    /// Requests for certificates.
    pub requests: Arc<Store<CertificateSigningRequest>>,
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
    /// Claims of storage.
    pub claims: Arc<Store<PersistentVolumeClaim>>,
    /// Volumes.
    pub volumes: Arc<Store<PersistentVolume>>,
    /// Quotas.
    pub quotas: Arc<Store<ResourceQuota>>,
    /// Disruption budgets.
    pub budgets: Arc<Store<PodDisruptionBudget>>,
    /// Roles of the cluster.
    pub roles: Arc<Store<ClusterRole>>,
    /// Pools of addresses for load balancers.
    pub pools: Arc<Store<AddressPool>>,
}

impl Caches {
    fn new() -> Self {
        Caches {
            pods: Arc::new(Store::default().grouped(pod::node_name)),
            nodes: Arc::new(Store::trimmed(trim_node)),
            leases: Arc::default(),
            namespaces: Arc::default(),
            accounts: Arc::default(),
            root_cas: Arc::default(),
            cluster_infos: Arc::default(),
            tokens: Arc::default(),
            requests: Arc::default(),
            services: Arc::default(),
            endpoints: Arc::default(),
            slices: Arc::default(),
            replicasets: Arc::default(),
            deployments: Arc::default(),
            claims: Arc::default(),
            volumes: Arc::default(),
            quotas: Arc::default(),
            budgets: Arc::default(),
            roles: Arc::default(),
            pools: Arc::default(),
        }
    }

    /// Keeps every cache filled by a watch of its own.
    pub fn follow(&self, start: &mut Start) {
        let all = watcher::Config::default;
        start.follow(&self.pods, all());
        start.follow(&self.nodes, all());
        start.follow(&self.leases, all());
        start.follow(&self.namespaces, all());
        start.follow(&self.accounts, all());
        start.follow(
            &self.root_cas,
            all().fields("metadata.name=kube-root-ca.crt"),
        );
        start.follow(
            &self.cluster_infos,
            all().fields("metadata.namespace=kube-public,metadata.name=cluster-info"),
        );
        let tokens = format!("metadata.namespace=kube-system,type={TOKEN_TYPE}");
        start.follow(&self.tokens, all().fields(&tokens));
        start.follow(&self.requests, all());
        start.follow(&self.services, all());
        start.follow(&self.endpoints, all());
        start.follow(&self.slices, all());
        start.follow(&self.replicasets, all());
        start.follow(&self.deployments, all());
        start.follow(&self.claims, all());
        start.follow(&self.volumes, all());
        start.follow(&self.quotas, all());
        start.follow(&self.budgets, all());
        start.follow(&self.roles, all());
        start.follow(&self.pools, all());
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
