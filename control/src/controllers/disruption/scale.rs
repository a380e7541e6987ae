//! How many pods their controllers want.
//!
//! ReplicaSets and Deployments are in the shared caches; any other controller, custom ones among
//! them, is asked for its Scale, so that nothing has to be kept of kinds that few clusters use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{DynamicObject, GroupVersion, GroupVersionKind};
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::error::DiscoveryError;
use kube::{Api, ResourceExt};

use super::Fault;
use crate::controllers::Context;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{ApiError, Key, meta};

/// A controller by its uid, and how many pods it wants.
type Wanted = (String, i32);

/// The controllers of the pods of one namespace.
pub(super) struct Controllers<'a> {
    context: &'a Context,
}

impl<'a> Controllers<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Controllers { context }
    }

    /// The sum of what the controllers of `pods` want, each counted once, and the pods that have
    /// none.
    ///
    /// # Errors
    /// A controller that is not there or has no scale, and calls that failed.
    pub(super) async fn scale(&self, pods: &[Arc<Pod>]) -> Result<(i32, Vec<Arc<Pod>>), Fault> {
        let mut unmanaged = Vec::new();
        let mut asked = HashSet::new();
        let mut wanted = HashMap::new();
        for pod in pods {
            let Some(owner) = meta::controller_of(&pod.metadata) else {
                unmanaged.push(pod.clone());
                continue;
            };
            if asked.insert(owner.uid.as_str()) {
                let (uid, count) = self.wanted(pod, owner).await?;
                wanted.insert(uid, count);
            }
        }
        let sum = wanted
            .values()
            .fold(0, |sum: i32, it| sum.saturating_add(*it));
        Ok((sum, unmanaged))
    }

    async fn wanted(&self, pod: &Pod, owner: &OwnerReference) -> Result<Wanted, Fault> {
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(wanted) = self.cached(&namespace, owner) {
            return Ok(wanted);
        }
        let scale = self
            .asked(&Key::new(&namespace, &owner.name), owner)
            .await?;
        scale.filter(|(uid, _)| *uid == owner.uid).ok_or_else(|| {
            Fault::Told(format!("found no controllers for pod {:?}", pod.name_any()))
        })
    }

    /// A ReplicaSet, or the Deployment that it belongs to.
    fn cached(&self, namespace: &str, owner: &OwnerReference) -> Option<Wanted> {
        let caches = &self.context.caches;
        if !is_of_apps(owner, "ReplicaSet") {
            return None;
        }
        let set = caches.replicasets.get(namespace, &owner.name)?;
        if meta::uid(&set.metadata) != owner.uid {
            return None;
        }
        match meta::controller_of(&set.metadata) {
            Some(above) if is_of_apps(above, "Deployment") => {
                let deployment = caches.deployments.get(namespace, &above.name)?;
                let same = meta::uid(&deployment.metadata) == above.uid;
                same.then(|| (above.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
            }
            _ => Some((owner.uid.clone(), set.spec.replicas.unwrap_or(1))),
        }
    }

    /// The Scale of any other controller; `None` when it is not there.
    async fn asked(&self, key: &Key, owner: &OwnerReference) -> Result<Option<Wanted>, Fault> {
        let client = self.context.writer.client();
        let (resource, capabilities) = self.kind(key, owner).await?;
        let scales = |(sub, _): &(ApiResource, ApiCapabilities)| sub.plural == "scale";
        if !capabilities.subresources.iter().any(scales) {
            let name = match resource.group.as_str() {
                "" => resource.plural,
                group => format!("{}.{group}", resource.plural),
            };
            let why = format!("{name} does not implement the scale subresource");
            return Err(Fault::Told(why));
        }
        let objects: Api<DynamicObject> = match capabilities.scope {
            Scope::Namespaced => Api::namespaced_with(client.clone(), &key.namespace, &resource),
            Scope::Cluster => Api::all_with(client.clone(), &resource),
        };
        let scale = match objects
            .get_scale(&key.name)
            .await
            .map_err(failed(key, owner))
        {
            Err(error) if error.is_not_found() => return Ok(None),
            scale => scale?,
        };
        let count = scale.spec.and_then(|spec| spec.replicas);
        Ok(Some((
            scale.metadata.uid.unwrap_or_default(),
            count.unwrap_or(0),
        )))
    }

    /// The owner's kind, in its version.
    async fn kind(
        &self,
        key: &Key,
        owner: &OwnerReference,
    ) -> Result<(ApiResource, ApiCapabilities), Fault> {
        let unknown = || {
            let (kind, version) = (&owner.kind, &owner.api_version);
            Fault::Told(format!(
                "no matches for kind {kind:?} in version {version:?}"
            ))
        };
        let version: GroupVersion = owner.api_version.parse().map_err(|_| unknown())?;
        let kind = GroupVersionKind::gvk(&version.group, &version.version, &owner.kind);
        match pinned_kind(self.context.writer.client(), &kind).await {
            Err(kube::Error::Discovery(DiscoveryError::MissingKind(_))) => Err(unknown()),
            found => match found.map_err(failed(key, owner)) {
                Err(error) if error.is_not_found() => Err(unknown()),
                found => Ok(found?),
            },
        }
    }
}

fn is_of_apps(owner: &OwnerReference, kind: &str) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    owner.kind == kind && matches!(group, Some("apps" | "extensions"))
}

fn failed(key: &Key, owner: &OwnerReference) -> impl FnOnce(kube::Error) -> ApiError {
    let (kind, object) = (owner.kind.clone(), key.to_string());
    move |source| ApiError {
        verb: "get scale of",
        kind,
        object,
        source: Box::new(source),
    }
}
