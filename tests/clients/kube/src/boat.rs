//! The custom kind: derived from a struct, with rules in CEL.

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::conditions;
use kube::runtime::wait::await_condition;
use kube::{Client, CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a Boat is to be.
#[derive(Clone, Debug, Deserialize, Serialize, CustomResource, KubeSchema)]
#[kube(
    group = "kube.test",
    version = "v1",
    kind = "Boat",
    namespaced,
    status = "BoatStatus",
    selectable = ".spec.harbour",
    validation = Rule::new("self.metadata.name.size() < 20").message("that name is too long")
)]
#[x_kube(validation = Rule::new("self.crew <= self.seats").message("somebody has no seat"))]
pub(crate) struct BoatSpec {
    /// How many may sit.
    pub(crate) seats: i64,
    /// How many there are.
    #[serde(default)]
    pub(crate) crew: i64,
    /// Where it belongs; it stays there.
    #[x_kube(validation = Rule::new("self == oldSelf").message("a boat keeps its harbour"))]
    pub(crate) harbour: String,
}

/// What a Boat is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub(crate) struct BoatStatus {
    /// The seats that were last seen.
    pub(crate) seen: i64,
}

/// A Boat of two seats.
pub(crate) fn boat(name: &str) -> Boat {
    let spec = BoatSpec {
        seats: 2,
        crew: 1,
        harbour: "north".to_owned(),
    };
    Boat {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Applies the definition and waits until it is served.
pub(crate) async fn define(client: Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let apply = PatchParams::apply("proof");
    let definition = Boat::crd();
    definitions
        .patch(Boat::crd_name(), &apply, &Patch::Apply(&definition))
        .await?;
    let established = conditions::is_crd_established();
    let wait = await_condition(definitions, Boat::crd_name(), established);
    tokio::time::timeout(crate::PATIENCE, wait)
        .await
        .context("the definition is not established")??;
    Ok(())
}
