//! Which servers there are, where several share a store: pods reach any of them by the `kubernetes`
//! Service.
//!
//! Each server renews a Lease in `kube-system`, as those of Kubernetes do to be known
//! (`apiserver.kubernetes.io/identity`), and whoever did so lately counts. All of them publish the
//! same list; they have to listen on the same port.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::server::Server;
use super::value::text;

/// The label of the Leases of servers, and its value.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
/// Whoever was silent for longer has gone. Renewed every ten seconds.
const SILENCE: Duration = Duration::from_secs(35);

/// Name and Lease of the server at `address`, as of now.
pub(super) fn lease(address: IpAddr) -> (String, Value) {
    let name = format!("apiserver-{}", address.to_string().replace([':', '.'], "-"));
    let lease = json!({
        "metadata": {"name": name, "labels": {LABEL.0: LABEL.1}},
        "spec": {"holderIdentity": address.to_string(),
            "leaseDurationSeconds": SILENCE.as_secs(),
            "renewTime": format!("{:.6}", Timestamp::now())},
    });
    (name, lease)
}

/// The addresses of all servers, this one included, sorted.
pub(super) fn addresses(server: &Server) -> BTreeSet<IpAddr> {
    let own = server.config().advertise_address;
    let leases = server
        .kinds
        .of("coordination.k8s.io", "leases")
        .map(|target| server.store.snapshot(target.resource));
    let there = leases
        .iter()
        .flat_map(|it| it.range(Some("kube-system"), None));
    let servers = there.filter(|(_, lease)| lease.selectable.label(LABEL.0) == Some(LABEL.1));
    let alive = servers.filter_map(|(_, lease)| holder(&lease.value(), Timestamp::now()));
    alive.chain([own]).collect()
}

/// The address of a server whose Lease is renewed.
fn holder(lease: &Value, now: Timestamp) -> Option<IpAddr> {
    let renewed: Timestamp = text(lease, "/spec/renewTime").parse().ok()?;
    let silent = now.duration_since(renewed).unsigned_abs();
    // A clock that is ahead of this one says nothing about the server.
    let alive = renewed > now || silent <= SILENCE;
    let holder = text(lease, "/spec/holderIdentity").parse().ok()?;
    alive.then_some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_counts_while_it_renews() {
        let address: IpAddr = "fd00::5".parse().unwrap();
        let (name, lease) = lease(address);
        assert_eq!(name, "apiserver-fd00--5");
        let now = Timestamp::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(holder(&lease, now), Some(address));
        assert_eq!(holder(&lease, after(30)), Some(address));
        assert_eq!(holder(&lease, after(60)), None);
        assert_eq!(holder(&json!({}), now), None);
    }
}
