//! Services, as the daemon programs them: one for the outside, with a lookup table, among many.

use std::net::IpAddr;

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use naru_ebpf_common::{Addr, TableSize};
use naru_node::config::Algorithm;
use naru_node::datapath::Datapath;
use naru_node::network::program_services;
use naru_node::service::{Balancing, Context, Desired, Programmed, Tables, Wanted};
use naru_node::watches::{Key, Table};
use serde_json::{Value, json};

use crate::cast::{self, PORT};
use crate::v4;

/// How many Services the nodes know.
pub(crate) const COUNTS: [u32; 4] = [1, 1_000, 10_000, 50_000];
/// Address of the load balancer.
pub(crate) const BALANCER: Addr = v4::VIP;

const NAMESPACE: &str = "shop";
/// Endpoints of the Service that is measured.
const ENDPOINTS: u8 = 10;
/// Its place among the Services: others come before and after it.
const PLACE: u32 = 0;

/// The pods of the node that serve the measured Service: its packets end here.
pub(crate) fn pods() -> Vec<Addr> {
    (0..ENDPOINTS).map(|n| cast::pod(50 + n)).collect()
}

/// Pods of another node that may serve it instead.
pub(crate) fn elsewhere() -> Vec<Addr> {
    (0..ENDPOINTS).map(|n| cast::client(n.into())).collect()
}

/// Writes `count` Services, of which `pods` serve the measured one.
///
/// # Errors
/// When a map is full or the kernel refuses.
pub(crate) fn enter(datapath: &Datapath, count: u32, pods: &[Addr]) -> Result<()> {
    let (services, slices) = (Table::new("services"), Table::new("endpointslices"));
    services.replace(objects::<Service>(count, service)?);
    slices.replace(objects::<EndpointSlice>(count, |n| slice(n, pods))?);
    let tables = Tables {
        services: &services,
        slices: &slices,
    };
    let mut wanted = Wanted::default();
    wanted.update(tables, context());
    let plan = Programmed::default().plan(wanted.entries());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(program_services(datapath, &plan))?)
}

fn context() -> Context {
    Context {
        node: "node1".to_owned(),
        zone: None,
        own: Vec::new(),
        balancing: Balancing {
            algorithm: Algorithm::Maglev,
            table: TableSize::DEFAULT,
        },
        host_ports: Desired::new(),
    }
}

fn objects<T: serde::de::DeserializeOwned>(
    count: u32,
    make: impl Fn(u32) -> Value,
) -> Result<Vec<(Key, T)>> {
    let object = |n| {
        Ok((
            Key::new(NAMESPACE, name(n)),
            serde_json::from_value(make(n))?,
        ))
    };
    (0..count).map(object).collect()
}

fn name(number: u32) -> String {
    format!("svc-{number}")
}

fn service(number: u32) -> Value {
    let [_, high, middle, low] = number.to_be_bytes();
    let address = format!("10.{}.{middle}.{low}", 97 + high);
    let mut service = json!({
        "metadata": {"name": name(number)},
        "spec": {"clusterIP": address, "ports": [{"port": PORT, "protocol": "TCP"}]},
    });
    if number == PLACE {
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": IpAddr::from(BALANCER)}]}});
    }
    service
}

/// The pods of the measured Service; of any other, two that no packet goes to.
fn slice(number: u32, pods: &[Addr]) -> Value {
    let pods = match number {
        PLACE => pods.to_vec(),
        _ => vec![
            cast::client(2 * (number % 500)),
            cast::client(2 * (number % 500) + 1),
        ],
    };
    let endpoint = |pod: &Addr| json!({"addresses": [IpAddr::from(*pod)]});
    let endpoints: Vec<_> = pods.iter().map(endpoint).collect();
    json!({
        "metadata": {"labels": {"kubernetes.io/service-name": name(number)}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"port": PORT, "protocol": "TCP"}],
    })
}
