//! The pod and its specification.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{NodeAffinity, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{Container, Resources, Status, or_default};

/// The only annotation that is read of a cached pod.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod. Its metadata has names, versions, labels, owners, finalizers, the times of creation and
/// deletion and the annotation [`DELETION_COST`]; nothing else is kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Pod {
    /// Its metadata.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: Spec,
    /// What was observed.
    #[serde(default, deserialize_with = "or_default")]
    pub status: Status,
}

/// What controllers read of a pod's specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The node it is bound to.
    pub node_name: Option<Box<str>>,
    /// Who is to find one, `default-scheduler` if absent.
    pub scheduler_name: Option<Box<str>>,
    /// Whether a gate holds back its scheduling.
    #[serde(rename = "schedulingGates", deserialize_with = "any")]
    pub gated: bool,
    /// Its name below a headless Service, and that Service.
    pub hostname: Option<Box<str>>,
    /// The headless Service of its hostname.
    pub subdomain: Option<Box<str>>,
    /// The containers.
    #[serde(deserialize_with = "or_default")]
    pub containers: Box<[Container]>,
    /// The init containers, sidecars among them.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Box<[Container]>,
    /// What the runtime itself takes.
    #[serde(deserialize_with = "or_default")]
    pub overhead: Resources,
    /// Taints it bears.
    #[serde(deserialize_with = "or_default")]
    pub tolerations: Box<[Toleration]>,
    /// Labels that its node must have.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Nodes that it demands or prefers.
    #[serde(rename = "affinity", deserialize_with = "node_affinity")]
    pub node_affinity: Option<Box<NodeAffinity>>,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whether a list has anything in it.
fn any<'de, D: Deserializer<'de>>(decoder: D) -> Result<bool, D::Error> {
    let list = Option::<Vec<IgnoredAny>>::deserialize(decoder)?;
    Ok(list.is_some_and(|list| !list.is_empty()))
}

fn node_affinity<'de, D>(decoder: D) -> Result<Option<Box<NodeAffinity>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Affinity {
        node_affinity: Option<Box<NodeAffinity>>,
    }
    let affinity = Option::<Affinity>::deserialize(decoder)?;
    Ok(affinity.and_then(|affinity| affinity.node_affinity))
}

fn metadata<'de, D: Deserializer<'de>>(decoder: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    struct Annotations {
        #[serde(rename = "controller.kubernetes.io/pod-deletion-cost")]
        deletion_cost: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kept {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<Annotations>,
        owner_references: Option<Vec<OwnerReference>>,
        finalizers: Option<Vec<String>>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
    }
    let kept = Kept::deserialize(decoder)?;
    let cost = kept.annotations.and_then(|it| it.deletion_cost);
    Ok(ObjectMeta {
        name: kept.name,
        namespace: kept.namespace,
        uid: kept.uid,
        resource_version: kept.resource_version,
        labels: kept.labels,
        annotations: cost.map(|cost| [(DELETION_COST.to_owned(), cost)].into()),
        owner_references: kept.owner_references,
        finalizers: kept.finalizers,
        creation_timestamp: kept.creation_timestamp,
        deletion_timestamp: kept.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "annotations": {"a": "b", DELETION_COST: "3"}, "labels": {"app": "web"},
                "managedFields": [{"manager": "m"}], "generation": 4},
            "spec": {"nodeName": "n", "schedulingGates": [{"name": "g"}], "volumes": [{"name": "v"}],
                "affinity": {"podAffinity": {}, "nodeAffinity": {}}}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(
            pod.metadata,
            ObjectMeta {
                name: Some("p".into()),
                namespace: Some("ns".into()),
                uid: Some("u".into()),
                resource_version: Some("7".into()),
                labels: Some([("app".to_owned(), "web".to_owned())].into()),
                annotations: Some([(DELETION_COST.to_owned(), "3".to_owned())].into()),
                ..ObjectMeta::default()
            }
        );
        assert_eq!(pod.spec.node_name.as_deref(), Some("n"));
        assert!(pod.spec.gated && pod.spec.node_affinity.is_some());
    }

    #[test]
    fn what_is_absent_or_null_is_empty() {
        let bare: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        let null = json!({"metadata": {"name": "p", "labels": null}, "status": null,
            "spec": {"nodeName": null, "schedulingGates": null, "containers": null, "overhead": null,
                "initContainers": null, "tolerations": null, "nodeSelector": null, "affinity": null}});
        assert_eq!(serde_json::from_value::<Pod>(null).unwrap(), bare);
        assert!(!bare.spec.gated && bare.spec.containers.is_empty());
    }
}
