//! Which kinds the server knows, for controllers that must not know them themselves.

use super::{ApiError, Key};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::discovery::{ApiCapabilities, ApiResource, Scope};
use kube::{Api, Client, Discovery};

/// A kind that the server offers.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Names and version.
    pub resource: ApiResource,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    operations: Vec<String>,
}

impl Offered {
    fn new(resource: ApiResource, capabilities: ApiCapabilities) -> Self {
        let namespaced = capabilities.scope == Scope::Namespaced;
        Offered {
            resource,
            namespaced,
            operations: capabilities.operations,
        }
    }

    /// Whether the kind has all of `verbs`.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs
            .iter()
            .all(|verb| self.operations.iter().any(|operation| operation == verb))
    }

    /// Its objects in `namespace`, which is ignored for cluster-scoped kinds.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }

    /// The metadata of all its objects, for lists and watches.
    pub fn all(&self, client: &Client) -> Api<PartialObjectMeta<DynamicObject>> {
        Api::all_with(client.clone(), &self.resource)
    }

    /// Names an object of this kind in a failed call.
    pub fn failed(
        &self,
        verb: &'static str,
        key: &Key,
    ) -> impl FnOnce(kube::Error) -> ApiError + use<> {
        let (kind, object) = (self.resource.kind.clone(), key.to_string());
        move |source| ApiError {
            verb,
            kind,
            object,
            source: Box::new(source),
        }
    }
}

/// Every kind in its preferred version.
pub async fn offered(client: &Client) -> Result<Vec<Offered>, ApiError> {
    // What other servers serve comes from memory, so that none of them is waited for.
    let found = Discovery::new(client.clone()).run_aggregated().await;
    let found = found.map_err(|source| ApiError {
        verb: "discover",
        kind: "kinds".into(),
        object: "of the server".into(),
        source: Box::new(source),
    })?;
    let resources = found
        .groups()
        .flat_map(|group| group.recommended_resources());
    Ok(resources
        .map(|(resource, capabilities)| Offered::new(resource, capabilities))
        .collect())
}
