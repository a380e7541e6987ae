//! The kinds that controllers read and write as typed objects.

use super::lean;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client, Resource};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// A typed kind and where its objects live.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// The API of this kind in `namespace`, which is ignored for cluster-scoped kinds.
    fn api(client: &Client, namespace: &str) -> Api<Self>;
}

/// A kind that holds all of its objects, so that they can be written.
pub trait Whole: Kind + Serialize {}

impl<K: Kind + Serialize> Whole for K {}

macro_rules! namespaced {
    ($($kind:ty),+) => {$(
        impl Kind for $kind {
            fn api(client: &Client, namespace: &str) -> Api<Self> {
                Api::namespaced(client.clone(), namespace)
            }
        }
    )+};
}

macro_rules! cluster {
    ($($kind:ty),+) => {$(
        impl Kind for $kind {
            fn api(client: &Client, _namespace: &str) -> Api<Self> {
                Api::all(client.clone())
            }
        }
    )+};
}

namespaced!(
    ConfigMap,
    Deployment,
    EndpointSlice,
    Endpoints,
    Event,
    Lease,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    ResourceQuota,
    Secret,
    Service,
    ServiceAccount,
    lean::Pod
);
cluster!(
    CertificateSigningRequest,
    ClusterRole,
    Namespace,
    Node,
    PersistentVolume
);
