//! What policies can tell apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

/// Labels of a pod, shared by every pod of a template.
pub type Labels = Arc<BTreeMap<String, String>>;

/// A class of addresses. `blocks` are the CIDRs of policies that hold the address, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// This node itself; exempt from policy.
    Host,
    /// Other nodes.
    RemoteNode {
        /// CIDRs that hold it.
        blocks: Vec<IpNet>,
    },
    /// Pods, and what stands for a pod in policies: the ingress proxy and the cluster DNS.
    Pod {
        /// Namespace.
        namespace: Arc<str>,
        /// Labels.
        labels: Labels,
        /// CIDRs that hold it.
        blocks: Vec<IpNet>,
    },
    /// Everything else.
    Outside {
        /// CIDRs that hold it.
        blocks: Vec<IpNet>,
    },
}

impl Class {
    /// The CIDRs of policies that hold the class.
    #[must_use]
    pub fn blocks(&self) -> &[IpNet] {
        match self {
            Self::Host => &[],
            Self::RemoteNode { blocks } | Self::Outside { blocks } => blocks,
            Self::Pod { blocks, .. } => blocks,
        }
    }
}
