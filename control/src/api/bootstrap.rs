//! The objects that every cluster has from the start and never lacks for long. Runs at every start
//! and every few seconds, and changes only what is missing or wrong.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use naru_core::names::{annotations, defaults, labels, namespaces};
use serde_json::{Value, json};

use super::dispatch::{Api, Internal};
use super::peers;
use super::server::{Server, ServerConfig};
use crate::api::body::full;
use crate::registry::policy_networking::cluster_network_policy;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long something may be missing.
const PERIOD: Duration = Duration::from_secs(10);

/// Why the cluster's own objects could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path}: {message}")]
pub struct BootstrapError {
    method: Method,
    path: String,
    message: String,
}

/// Creates the definition of ClusterNetworkPolicy, the FlowSchemas and priority levels, the namespaces,
/// the `kubernetes` and DNS Services with their endpoints, the two PriorityClasses of the cluster and the
/// default IngressClass. Custom kinds are served when this returns.
///
/// # Errors
/// The first request that the API refuses.
pub async fn bootstrap(api: &Api, server: &Server) -> Result<(), BootstrapError> {
    let client = Internal::new(api.clone(), "system:apiserver", &[super::authz::MASTERS]);
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let policies = cluster_network_policy::definition();
    ensure(&client, definitions, cluster_network_policy::NAME, policies).await?;
    super::custom::sync(server).await;
    super::fairness::ensure(&client, server).await?;
    for name in namespaces::ALL {
        let namespace = json!({"metadata": {"name": name}});
        ensure(&client, "/api/v1/namespaces", name, namespace).await?;
    }
    let config = server.config();
    let services = "/api/v1/namespaces/default/services";
    let address = config.plan.nth(1).to_string();
    ensure(
        &client,
        services,
        "kubernetes",
        kubernetes_service(&address),
    )
    .await?;
    let services = "/api/v1/namespaces/kube-system/services";
    let addresses = config.plan.each(10);
    ensure(&client, services, "kube-dns", dns_service(&addresses)).await?;
    publish_addresses(&client, server).await?;
    publish_cluster(&client, config).await?;
    if let Some(front) = &server.front {
        let name = "extension-apiserver-authentication";
        let data = super::aggregation::trust(front, &config.authority);
        let map = json!({"metadata": {"name": name}, "data": data});
        let maps = "/api/v1/namespaces/kube-system/configmaps";
        enforce(&client, maps, name, map).await?;
    }
    for (collection, object) in super::roles::all() {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        ensure(&client, &collection, &name, object).await?;
    }
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    for (name, value) in super::admission::PRIORITIES {
        let class = json!({"metadata": {"name": name}, "value": value});
        ensure(&client, classes, name, class).await?;
    }
    let class = json!({"metadata": {"name": defaults::INGRESS_CLASS,
        "annotations": {annotations::DEFAULT_INGRESS_CLASS: "true"}},
        "spec": {"controller": "naru.dev/ingress"}});
    let classes = "/apis/networking.k8s.io/v1/ingressclasses";
    ensure(&client, classes, defaults::INGRESS_CLASS, class).await
}

/// Makes again what somebody deleted, until `stopping`.
pub async fn keep(api: Api, server: Arc<Server>, stopping: CancellationToken) {
    let rounds = async {
        loop {
            tokio::time::sleep(PERIOD).await;
            if let Err(error) = bootstrap(&api, &server).await {
                tracing::warn!(%error, "the cluster's own objects are incomplete");
            }
        }
    };
    stopping.run_until_cancelled(rounds).await;
}

/// Tells pods where the servers are. An address on this machine's loopback is of no use to them, and
/// the API refuses it as an endpoint.
async fn publish_addresses(client: &Internal, server: &Server) -> Result<(), BootstrapError> {
    let config = server.config();
    if config.advertise_address.is_loopback() {
        return Ok(());
    }
    if server.store.is_shared() {
        let (name, lease) = peers::lease(config.advertise_address);
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        enforce(client, leases, &name, lease).await?;
    }
    let ips = peers::addresses(server);
    let ips: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
    let port = config.advertise_port;
    let endpoints = "/api/v1/namespaces/default/endpoints";
    enforce(client, endpoints, "kubernetes", endpoints_of(&ips, port)).await?;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    enforce(client, slices, "kubernetes", slice_of(&ips, port)).await
}

/// Tells new nodes where the server is and by whom its certificate is signed: what tokens sign.
async fn publish_cluster(client: &Internal, config: &ServerConfig) -> Result<(), BootstrapError> {
    let address = SocketAddr::new(config.advertise_address, config.advertise_port);
    let text = crate::pki::cluster_info(&config.authority, &format!("https://{address}"));
    let map = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": text}});
    let maps = "/api/v1/namespaces/kube-public/configmaps";
    ensure(client, maps, "cluster-info", map).await
}

fn kubernetes_service(address: &str) -> Value {
    json!({"metadata": {"name": "kubernetes",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": address, "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP",
                "targetPort": defaults::API_PORT}]}})
}

/// Of every family of the cluster: nodes serve the DNS at the tenth address of each range.
fn dns_service(addresses: &[IpAddr]) -> Value {
    let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    json!({"metadata": {"name": "kube-dns", "labels": {labels::K8S_APP: labels::KUBE_DNS,
            "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}},
        "spec": {"type": "ClusterIP", "clusterIP": addresses.first(), "clusterIPs": addresses,
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}})
}

fn endpoints_of(ips: &[String], port: u16) -> Value {
    let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"metadata": {"name": "kubernetes",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": addresses,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]})
}

/// Of one family, that of the first address: servers of both would need a slice of each.
fn slice_of(ips: &[String], port: u16) -> Value {
    let six = ips.first().is_some_and(|ip| ip.contains(':'));
    let endpoints = ips.iter().filter(|ip| ip.contains(':') == six);
    let endpoint = |ip| json!({"addresses": [ip], "conditions": {"ready": true}});
    let endpoints: Vec<_> = endpoints.map(endpoint).collect();
    json!({"metadata": {"name": "kubernetes", "labels": {labels::SERVICE_NAME: "kubernetes"}},
        "addressType": if six { "IPv6" } else { "IPv4" },
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
}

/// Creates the object unless there is one of that name.
async fn ensure(
    client: &Internal,
    collection: &str,
    name: &str,
    object: Value,
) -> Result<(), BootstrapError> {
    let path = format!("{collection}/{name}");
    match call(client, Method::GET, &path, None).await {
        Ok(()) => Ok(()),
        Err((StatusCode::NOT_FOUND, _)) => {
            let created = call(client, Method::POST, collection, Some(&object)).await;
            // Another server on the same store may be faster.
            let created = match created {
                Err((StatusCode::CONFLICT, _)) => Ok(()),
                other => other,
            };
            created.map_err(|(_, message)| error(Method::POST, collection, message))
        }
        Err((_, message)) => Err(error(Method::GET, &path, message)),
    }
}

/// A change of the cluster's own objects. Another server on the same store may be faster, and the
/// object be taken, changed or gone: then the next round looks again.
///
/// # Errors
/// What the API refuses otherwise.
pub(super) async fn change(
    client: &Internal,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(), BootstrapError> {
    match call(client, method.clone(), path, body).await {
        Ok(()) | Err((StatusCode::CONFLICT | StatusCode::NOT_FOUND, _)) => Ok(()),
        Err((_, message)) => Err(error(method, path, message)),
    }
}

/// Creates the object or replaces what differs.
async fn enforce(
    client: &Internal,
    collection: &str,
    name: &str,
    object: Value,
) -> Result<(), BootstrapError> {
    ensure(client, collection, name, object.clone()).await?;
    let path = format!("{collection}/{name}");
    let replaced = call(client, Method::PUT, &path, Some(&object)).await;
    replaced.map_err(|(_, message)| error(Method::PUT, &path, message))
}

fn error(method: Method, path: &str, message: String) -> BootstrapError {
    BootstrapError {
        method,
        path: path.to_owned(),
        message,
    }
}

async fn call(
    client: &Internal,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(), (StatusCode, String)> {
    let body = full(body.map(Value::to_string).unwrap_or_default());
    let request = Request::builder().method(method).uri(path).body(body);
    let request = request.expect("the paths above are URIs");
    let reply = match client.clone().call(request).await {
        Ok(reply) => reply,
        Err(never) => match never {},
    };
    let code = reply.status();
    if code.is_success() {
        return Ok(());
    }
    let bytes = reply
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    Err((
        code,
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
    ))
}
