//! One watch per kind, shared by every part of the daemon.
//!
//! Each kind has a [`Table`]: the last complete view of the API, replaced object by object and
//! kept while the API server is away, so that the data path goes on with what it knew. Parts read
//! a table and wait for it to change; none opens a watch of its own for these kinds. ConfigMaps
//! and Secrets are not here: a node may only fetch those its pods name.
//!
//! ClusterNetworkPolicies are a custom kind, which an API server may not serve, or not yet, or no
//! more: then there are none, and the daemon asks again now and then.

mod cluster_policy;
mod feed;
mod pod;
mod table;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use kube::Client;
use kube::runtime::watcher;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterPort, ClusterRule, PodsOf, Tier,
};
use feed::Presence;
pub use pod::{PodInfo, PodPort, Protocol};
pub use table::{Key, Table};

/// The node's view of the API, one table per kind.
#[derive(Debug)]
pub struct Watches {
    /// Every Service.
    pub services: Table<Service>,
    /// Every EndpointSlice.
    pub endpoint_slices: Table<EndpointSlice>,
    /// Every Pod of the cluster, reduced to what the data path and the DNS need.
    pub pods: Table<PodInfo>,
    /// The Pods bound to this node, whole.
    pub own_pods: Table<Pod>,
    /// Every Namespace.
    pub namespaces: Table<Namespace>,
    /// Every NetworkPolicy.
    pub network_policies: Table<NetworkPolicy>,
    /// Every ClusterNetworkPolicy, none where the kind is not served.
    pub cluster_policies: Table<ClusterPolicy>,
    /// Every Node.
    pub nodes: Table<Node>,
    /// Every Ingress.
    pub ingresses: Table<Ingress>,
    /// Every IngressClass.
    pub ingress_classes: Table<IngressClass>,
}

impl Watches {
    /// Empty tables; [`Watches::run`] fills them. Tests fill them by hand.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            services: Table::new("services"),
            endpoint_slices: Table::new("endpointslices"),
            pods: Table::new("pods"),
            own_pods: Table::new("own pods"),
            namespaces: Table::new("namespaces"),
            network_policies: Table::new("networkpolicies"),
            cluster_policies: Table::new("clusternetworkpolicies"),
            nodes: Table::new("nodes"),
            ingresses: Table::new("ingresses"),
            ingress_classes: Table::new("ingressclasses"),
        })
    }

    /// Follows the API until `shutdown`; never gives up, whatever the API server does.
    pub async fn run(
        self: Arc<Self>,
        client: Client,
        node_name: String,
        shutdown: CancellationToken,
    ) {
        let all = watcher::Config::default;
        let mine = all().fields(&format!("spec.nodeName={node_name}"));
        let mut feeds = JoinSet::new();
        macro_rules! feed {
            ($table:ident, $config:expr, $reduce:expr) => {
                feed!($table, $config, $reduce, Presence::Certain)
            };
            ($table:ident, $config:expr, $reduce:expr, $presence:expr) => {{
                let (watches, client, shutdown) =
                    (Arc::clone(&self), client.clone(), shutdown.clone());
                let config = $config;
                feeds.spawn(async move {
                    let table = &watches.$table;
                    feed::run(client, config, table, $reduce, $presence, shutdown).await
                });
            }};
        }
        feed!(services, all(), feed::whole::<Service>);
        feed!(endpoint_slices, all(), feed::whole::<EndpointSlice>);
        feed!(pods, all(), PodInfo::from_pod);
        feed!(own_pods, mine, feed::whole::<Pod>);
        feed!(namespaces, all(), feed::whole::<Namespace>);
        feed!(network_policies, all(), feed::whole::<NetworkPolicy>);
        feed!(
            cluster_policies,
            all(),
            ClusterPolicy::read,
            Presence::Optional
        );
        feed!(nodes, all(), feed::whole::<Node>);
        feed!(ingresses, all(), feed::whole::<Ingress>);
        feed!(ingress_classes, all(), feed::whole::<IngressClass>);
        feeds.join_all().await;
    }

    /// Waits until every table that the data path needs has been filled once.
    pub async fn network_synced(&self) {
        self.services.synced().await;
        self.endpoint_slices.synced().await;
        self.pods.synced().await;
        self.namespaces.synced().await;
        self.network_policies.synced().await;
        self.cluster_policies.synced().await;
        self.nodes.synced().await;
    }
}
