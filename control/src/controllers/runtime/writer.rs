//! Writes to the API: creations, differences and deletions, each naming its object in errors.

use super::lean;
use super::{ApiError, Key, Kind, Whole, merge};
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

/// A client with the project's habits of writing.
#[derive(Clone)]
pub struct Writer {
    client: Client,
}

impl Writer {
    /// A writer over `client`.
    pub fn new(client: Client) -> Self {
        Writer { client }
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads `key` from the API, past every cache.
    pub async fn live<K: Kind>(&self, key: &Key) -> Result<Option<K>, ApiError> {
        let answer = K::api(&self.client, &key.namespace)
            .get_opt(&key.name)
            .await;
        answer.map_err(failed::<K>("get", key))
    }

    /// Creates `object`; its name may be left to the server (`generateName`).
    pub async fn create<K: Whole>(&self, object: &K) -> Result<K, ApiError> {
        let key = Key::of(object);
        let api = K::api(&self.client, &key.namespace);
        api.create(&PostParams::default(), object)
            .await
            .map_err(failed::<K>("create", &key))
    }

    /// Writes what differs between `old` and `new` outside of status and answers what is
    /// stored then; `None` when there is no difference.
    /// Fails with a conflict when `old` is not the stored version any more.
    pub async fn update<K: Whole>(&self, old: &K, new: &K) -> Result<Option<K>, ApiError> {
        let Some(patch) = guarded_diff(old, new) else {
            return Ok(None);
        };
        let key = Key::of(old);
        let api = K::api(&self.client, &key.namespace);
        let answer = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        answer.map(Some).map_err(failed::<K>("patch", &key))
    }

    /// As [`Writer::update`], for the status subresource.
    pub async fn update_status<K: Whole>(&self, old: &K, new: &K) -> Result<bool, ApiError> {
        let Some(patch) = guarded_diff(old, new) else {
            return Ok(false);
        };
        let key = Key::of(old);
        let api = K::api(&self.client, &key.namespace);
        let answer = api
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        answer
            .map(|_| true)
            .map_err(failed::<K>("patch status of", &key))
    }

    /// Writes the owners of an object and answers what is stored then. Fails with a conflict when
    /// `object` is not the stored version any more.
    pub async fn set_owners<K: Kind>(
        &self,
        object: &K,
        owners: &[OwnerReference],
    ) -> Result<K, ApiError> {
        let mut patch = guard(object);
        patch["metadata"]["ownerReferences"] = json!(owners);
        let key = Key::of(object);
        let api = K::api(&self.client, &key.namespace);
        api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(failed::<K>("patch", &key))
    }

    /// Sets one condition of a pod and leaves the others as they are. Fails with a conflict when
    /// `pod` is not the stored version any more.
    pub async fn set_condition(
        &self,
        pod: &lean::Pod,
        condition: &PodCondition,
    ) -> Result<(), ApiError> {
        let mut patch = guard(pod);
        patch["status"]["conditions"] = json!([condition]);
        let key = Key::of(pod);
        let api = lean::Pod::api(&self.client, &key.namespace);
        let answer = api
            .patch_status(
                &key.name,
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await;
        answer
            .map(drop)
            .map_err(failed::<lean::Pod>("patch status of", &key))
    }

    /// Deletes this very object (by uid) with its kind's default grace and propagation;
    /// an object that is gone already is success.
    pub async fn delete<K: Kind>(&self, object: &K) -> Result<(), ApiError> {
        self.delete_with(object, DeleteParams::default()).await
    }

    /// As [`Writer::delete`], with parameters.
    pub async fn delete_with<K: Kind>(
        &self,
        object: &K,
        params: DeleteParams,
    ) -> Result<(), ApiError> {
        let key = Key::of(object);
        let guard = Preconditions {
            uid: object.uid(),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(guard),
            ..params
        };
        let answer = K::api(&self.client, &key.namespace)
            .delete(&key.name, &params)
            .await;
        match answer.map_err(failed::<K>("delete", &key)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Names the object of a failed call.
pub fn failed<K: Kind>(verb: &'static str, key: &Key) -> impl FnOnce(kube::Error) -> ApiError {
    let object = key.to_string();
    move |source| ApiError {
        verb,
        kind: K::kind(&()).into_owned(),
        object,
        source: Box::new(source),
    }
}

fn guarded_diff<K: Whole>(old: &K, new: &K) -> Option<Value> {
    let mut patch = merge::diff(&encoded(old), &encoded(new))?;
    let Value::Object(guard) = guard(old)["metadata"].take() else {
        return None;
    };
    for (name, value) in guard {
        patch["metadata"][name] = value;
    }
    Some(patch)
}

/// The beginning of a patch that applies to this version of this very object alone.
fn guard<K: Kind>(object: &K) -> Value {
    json!({"metadata": {"resourceVersion": object.resource_version(), "uid": object.uid()}})
}

fn encoded<K: Whole>(object: &K) -> Value {
    serde_json::to_value(object).expect("API types encode to JSON")
}

#[cfg(test)]
mod tests {
    use super::guarded_diff;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::json;

    #[test]
    fn a_write_is_bound_to_the_version_and_the_uid_it_was_planned_on() {
        let mut old = ReplicaSet::default();
        old.metadata.uid = Some("u".into());
        old.metadata.resource_version = Some("7".into());
        let mut new = old.clone();
        new.spec.replicas = Some(3);
        let patch = guarded_diff(&old, &new).unwrap();
        assert_eq!(
            patch["metadata"],
            json!({"resourceVersion": "7", "uid": "u"})
        );
        assert_eq!(patch["spec"]["replicas"], 3);
        assert_eq!(guarded_diff(&old, &old), None);
    }
}
