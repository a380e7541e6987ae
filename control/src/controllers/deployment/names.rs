//! Labels and annotations of Deployments, and small questions about their ReplicaSets.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Label that tells the ReplicaSets of one Deployment apart.
pub const HASH: &str = "pod-template-hash";
/// Which roll-out a ReplicaSet stands for; kubectl's `rollout history` and `undo` read it.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a ReplicaSet that was rolled back to.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the ReplicaSet was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same plus the surge.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that stay on the Deployment.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
];

/// The revision in `meta`, zero when there is none.
pub fn revision(meta: &ObjectMeta) -> i64 {
    number(meta, REVISION).unwrap_or(0)
}

/// The number in annotation `name`.
pub fn number(meta: &ObjectMeta, name: &str) -> Option<i64> {
    meta.annotations.as_ref()?.get(name)?.parse().ok()
}

/// The annotations that a Deployment hands to its ReplicaSets.
pub fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    let all = deployment.annotations().iter();
    let kept = all.filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// `spec.replicas` of a ReplicaSet.
pub fn wanted(rs: &ReplicaSet) -> i32 {
    rs.spec.replicas.unwrap_or(1)
}

/// `status.availableReplicas` of a ReplicaSet.
pub fn available(rs: &ReplicaSet) -> i32 {
    rs.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// `status.replicas` of a ReplicaSet.
pub fn actual(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().map_or(0, |status| status.replicas)
}

/// The sum of `count` over `sets`.
pub fn total<R: Borrow<ReplicaSet>>(
    sets: impl IntoIterator<Item = R>,
    count: fn(&ReplicaSet) -> i32,
) -> i32 {
    sets.into_iter().map(|rs| count(rs.borrow())).sum()
}

/// `spec.replicas` of a Deployment.
pub fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}
