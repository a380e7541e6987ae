//! The node's lease: the sign of life that the control plane watches.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio_util::sync::CancellationToken;

/// Namespace of all node leases.
const NAMESPACE: &str = "kube-node-lease";
/// Seconds after which an unrenewed lease means a lost node.
const DURATION: i32 = 40;
const PERIOD: Duration = Duration::from_secs(10);
/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_millis(500);

/// Renews the lease until `shutdown`.
pub async fn run(client: Client, node: String, shutdown: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    loop {
        let pause = match renew(&api, &node).await {
            Ok(()) => PERIOD,
            Err(error) => {
                tracing::warn!(%error, "lease not renewed");
                RETRY
            }
        };
        if tokio::time::timeout(pause, shutdown.cancelled())
            .await
            .is_ok()
        {
            return;
        }
    }
}

async fn renew(api: &Api<Lease>, node: &str) -> Result<(), kube::Error> {
    let patch = serde_json::json!({"spec": {"holderIdentity": node, "renewTime": MicroTime(Timestamp::now())}});
    match api
        .patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(kube::Error::Api(answer)) if answer.code == 404 => api
            .create(&PostParams::default(), &lease(node, Timestamp::now()))
            .await
            .map(drop),
        other => other.map(drop),
    }
}

fn lease(node: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(DURATION),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_names_its_node_and_outlives_several_renewals() {
        let spec = lease("node1", Timestamp::UNIX_EPOCH).spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("node1"));
        assert!(u64::try_from(DURATION).unwrap() > 3 * PERIOD.as_secs());
    }
}
