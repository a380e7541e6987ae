//! Well-known names: the defaults of a Naru cluster, and the labels, annotations and taints that
//! Kubernetes gives a meaning. One place, so that the two sides can't disagree.

/// What a cluster looks like unless its flags say otherwise.
pub mod defaults {
    use std::net::Ipv4Addr;

    /// Addresses of all pods.
    pub const POD_CIDR: &str = "10.244.0.0/16";
    /// Prefix length of one node's share of the pod addresses.
    pub const NODE_POD_PREFIX: u8 = 24;
    /// Addresses of all Services.
    pub const SERVICE_CIDR: &str = "10.96.0.0/12";
    /// Address of the Service `default/kubernetes`.
    pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
    /// Address of the cluster DNS, the Service `kube-system/kube-dns`.
    pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
    /// Domain under which the cluster's names live.
    pub const CLUSTER_DOMAIN: &str = "cluster.local";
    /// First and last NodePort.
    pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
    /// Ports of the node that flows use which travel under its address.
    pub const SNAT_PORTS: [std::ops::RangeInclusive<u16>; 2] = [11000..=29999, 61000..=65535];
    /// The gateway every pod sees; a permanent neighbour, never an interface's address.
    pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
    /// Port of the API server (HTTPS).
    pub const API_PORT: u16 = 6443;
    /// Port of the node server (HTTPS: kubelet paths and gRPC).
    pub const NODE_PORT: u16 = 10250;
    /// Port of the ingress on every node (HTTP).
    pub const INGRESS_PORT: u16 = 80;
    /// State of the node daemon, kept over restarts of the machine.
    pub const NODE_STATE_DIR: &str = "/var/lib/naru-node";
    /// Sockets of the node daemon.
    pub const NODE_RUN_DIR: &str = "/run/naru-node";
    /// Pinned maps and links; the version changes with the layout.
    pub const BPFFS_DIR: &str = "/sys/fs/bpf/naru/v1";
    /// Name of the scheduler that binds pods which ask for no other.
    pub const SCHEDULER: &str = "default-scheduler";
    /// Name of the IngressClass that the nodes serve.
    pub const INGRESS_CLASS: &str = "naru";
    /// The `loadBalancerClass` of Services that get their address from an AddressPool; those that
    /// name none do, too.
    pub const LOAD_BALANCER_CLASS: &str = "naru.dev/address-pool";
    /// UDP port on which nodes tell each other which load balancer addresses they announce.
    pub const ANNOUNCE_PORT: u16 = 10254;
}

/// Namespaces that exist from the start.
pub mod namespaces {
    /// Where objects go that name no namespace.
    pub const DEFAULT: &str = "default";
    /// Cluster services, among them the DNS.
    pub const KUBE_SYSTEM: &str = "kube-system";
    /// Readable by everybody.
    pub const KUBE_PUBLIC: &str = "kube-public";
    /// One Lease per node.
    pub const KUBE_NODE_LEASE: &str = "kube-node-lease";
    /// Naru's own parts.
    pub const NARU_SYSTEM: &str = "naru-system";
    /// All of them, in the order in which they are made.
    pub const ALL: [&str; 5] = [
        DEFAULT,
        KUBE_SYSTEM,
        KUBE_PUBLIC,
        KUBE_NODE_LEASE,
        NARU_SYSTEM,
    ];
}

/// Labels.
pub mod labels {
    /// A namespace's own name.
    pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
    /// A node's name.
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    /// A node's operating system.
    pub const OS: &str = "kubernetes.io/os";
    /// A node's processor architecture, in Go's spelling.
    pub const ARCH: &str = "kubernetes.io/arch";
    /// Prefix of a node's role labels.
    pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io/";
    /// A node's role in the older form, as a value.
    pub const NODE_ROLE: &str = "kubernetes.io/role";
    /// Failure domain.
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    /// The Service that an EndpointSlice belongs to.
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    /// Who keeps an EndpointSlice.
    pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
    /// Marks Endpoints and EndpointSlices of a headless Service.
    pub const HEADLESS: &str = "service.kubernetes.io/headless";
    /// Hash of the pod template, which tells a Deployment's ReplicaSets apart.
    pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
    /// A part's name.
    pub const APP_NAME: &str = "app.kubernetes.io/name";
    /// The older name label of cluster services.
    pub const K8S_APP: &str = "k8s-app";
    /// Value of [`K8S_APP`] of the cluster DNS.
    pub const KUBE_DNS: &str = "kube-dns";
    /// Keeps a node from announcing addresses of load balancers.
    pub const NO_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    /// Value of [`APP_NAME`] of the ingress proxy in policies.
    pub const NARU_INGRESS: &str = "naru-ingress";
}

/// Annotations.
pub mod annotations {
    /// Revision of a Deployment and of its ReplicaSets.
    pub const REVISION: &str = "deployment.kubernetes.io/revision";
    /// Earlier revisions of a ReplicaSet that came back.
    pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
    /// Replicas that the Deployment wanted when the ReplicaSet was last scaled.
    pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
    /// Desired replicas plus surge.
    pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
    /// Why a revision was made, by the user.
    pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
    /// What `kubectl apply` applied last.
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    /// The container that `kubectl logs` takes by default.
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    /// Marks the IngressClass of Ingresses that name none.
    pub const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
    /// Addresses that a load balancer should have, separated by commas.
    pub const LOAD_BALANCER_ADDRESSES: &str = "naru.dev/load-balancer-addresses";
    /// The AddressPool that a load balancer's addresses should come from.
    pub const ADDRESS_POOL: &str = "naru.dev/address-pool";
    /// How packets from outside choose among the endpoints of a Service: `random` or `maglev`.
    pub const LOAD_BALANCER_ALGORITHM: &str = "naru.dev/load-balancer-algorithm";
    /// Slots of the lookup table of a Service with the algorithm `maglev`.
    pub const MAGLEV_TABLE_SIZE: &str = "naru.dev/maglev-table-size";
    /// Bits in a second that may enter a pod, a quantity.
    pub const INGRESS_BANDWIDTH: &str = "kubernetes.io/ingress-bandwidth";
    /// Bits in a second that a pod may send out of its node, a quantity.
    pub const EGRESS_BANDWIDTH: &str = "kubernetes.io/egress-bandwidth";
    /// Time of the last change that led to Endpoints.
    pub const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
}

/// Taints.
pub mod taints {
    /// The node reports that it is not ready.
    pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
    /// The node reports nothing any more.
    pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    /// The node takes no new pods.
    pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
    /// The node is short of memory.
    pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
    /// The node is short of disk.
    pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
}

/// Finalizers.
pub mod finalizers {
    /// Holds a PersistentVolumeClaim that a pod uses.
    pub const CLAIM_IN_USE: &str = "kubernetes.io/pvc-protection";
    /// Holds a PersistentVolume that is bound to a claim.
    pub const VOLUME_IN_USE: &str = "kubernetes.io/pv-protection";
}

/// Users and groups.
pub mod identities {
    /// May do everything.
    pub const MASTERS: &str = "system:masters";
    /// Group of all nodes.
    pub const NODES: &str = "system:nodes";
    /// Prefix of a node's user name.
    pub const NODE_PREFIX: &str = "system:node:";
    /// The API server when it calls a node.
    pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
    /// Everybody who proved an identity.
    pub const AUTHENTICATED: &str = "system:authenticated";
    /// Everybody else.
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    /// The user name of everybody else.
    pub const ANONYMOUS: &str = "system:anonymous";
    /// Prefix of a service account's user name.
    pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
}
