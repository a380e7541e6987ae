//! Tables of Services and pods.

use super::backend::{Backend, backends};
use super::slices::{self, CAPACITY, Plan};
use super::subsets;
use crate::controllers::runtime::lean::Pod;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn service(edit: Value) -> Service {
    let mut service = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"team": "x"}},
        "spec": {"clusterIP": "10.96.0.7", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
    for (key, value) in edit.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    serde_json::from_value(service).unwrap()
}

fn pod(index: usize, edit: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let ip = format!("10.244.{}.{}", index / 250, index % 250 + 2);
    let mut pod = json!({
        "metadata": {"name": format!("p{index}"), "namespace": "ns", "uid": format!("u{index:04}"), "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}, {"ip": format!("fd00::{index:x}")}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
    edit(&mut pod);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn unready(pod: &mut Value) {
    pod["status"]["conditions"][0]["status"] = json!("False");
}

fn terminating(pod: &mut Value) {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
}

fn read(service: &Service, pods: &[Arc<Pod>]) -> Vec<Backend> {
    backends(
        service,
        pods,
        &BTreeMap::from([("n1".into(), "z1".into())]),
        false,
    )
}

fn flags(service: &Service, pod: Arc<Pod>) -> Option<(bool, bool, bool)> {
    let backend = read(service, &[pod]).pop()?;
    Some((backend.ready, backend.serving, backend.terminating))
}

#[test]
fn conditions_follow_readiness_and_termination() {
    let plain = service(json!({}));
    assert_eq!(flags(&plain, pod(0, |_| {})), Some((true, true, false)));
    assert_eq!(flags(&plain, pod(0, unready)), Some((false, false, false)));
    assert_eq!(
        flags(&plain, pod(0, terminating)),
        Some((false, true, true))
    );
    let publish = service(json!({"publishNotReadyAddresses": true}));
    assert_eq!(flags(&publish, pod(0, unready)), Some((true, false, false)));
    assert_eq!(
        flags(&publish, pod(0, terminating)),
        Some((true, true, true))
    );
}

#[test]
fn pods_without_address_finished_or_unselected_are_no_backends() {
    let plain = service(json!({}));
    assert_eq!(
        flags(
            &plain,
            pod(0, |pod| pod["status"]["phase"] = json!("Succeeded"))
        ),
        None
    );
    assert_eq!(
        flags(
            &plain,
            pod(0, |pod| pod["metadata"]["labels"] = json!({"app": "db"}))
        ),
        None
    );
    let nowhere = |pod: &mut Value| {
        pod["status"]["podIP"] = json!(null);
        pod["status"]["podIPs"] = json!([]);
    };
    assert_eq!(flags(&plain, pod(0, nowhere)), None);
}

#[test]
fn target_ports_are_found_by_name_number_or_default() {
    let number = |port: Value| {
        let service = service(json!({"ports": [port]}));
        read(&service, &[pod(0, |_| {})])[0]
            .ports
            .first()
            .map(|port| port.number)
    };
    assert_eq!(
        number(json!({"port": 80, "targetPort": "http"})),
        Some(8080)
    );
    assert_eq!(number(json!({"port": 80, "targetPort": 9090})), Some(9090));
    assert_eq!(number(json!({"port": 80})), Some(80));
    assert_eq!(number(json!({"port": 80, "targetPort": "metrics"})), None);
    assert_eq!(
        number(json!({"port": 80, "targetPort": "http", "protocol": "UDP"})),
        None
    );
}

#[test]
fn a_backend_knows_node_zone_hostname_and_the_family_asked_for() {
    let named = pod(3, |pod| {
        pod["spec"]["hostname"] = json!("first");
        pod["spec"]["subdomain"] = json!("web");
    });
    let service = service(json!({}));
    let backend = &read(&service, std::slice::from_ref(&named))[0];
    assert_eq!(
        (backend.node.as_deref(), backend.zone.as_deref()),
        (Some("n1"), Some("z1"))
    );
    assert_eq!(backend.hostname.as_deref(), Some("first"));
    let v6 = backends(&service, &[named], &BTreeMap::new(), true);
    assert_eq!(v6[0].address.to_string(), "fd00::3");
}

/// Applies a plan as the API would.
fn apply(plan: Plan, mut slices: Vec<Arc<EndpointSlice>>) -> Vec<Arc<EndpointSlice>> {
    slices.retain(|slice| {
        !plan
            .delete
            .iter()
            .any(|gone| gone.name_any() == slice.name_any())
    });
    for (before, after) in plan.update {
        let place = slices
            .iter_mut()
            .find(|slice| slice.name_any() == before.name_any())
            .unwrap();
        *place = Arc::new(after);
    }
    slices.extend(plan.create.into_iter().map(Arc::new));
    slices
}

fn step(
    service: &Service,
    pods: &[Arc<Pod>],
    slices: Vec<Arc<EndpointSlice>>,
) -> (usize, Vec<Arc<EndpointSlice>>) {
    let plan = slices::plan(service, "IPv4", read(service, pods), slices.clone());
    let writes = plan.create.len() + plan.update.len() + plan.delete.len();
    (writes, apply(plan, slices))
}

fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
    slices
        .iter()
        .map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len))
        .collect()
}

#[test]
fn a_service_without_pods_has_one_empty_slice_that_is_filled_later() {
    let service = service(json!({}));
    let (_, slices) = step(&service, &[], Vec::new());
    assert_eq!(sizes(&slices), [0]);
    let name = slices[0].name_any();
    let (writes, slices) = step(&service, &[pod(0, |_| {})], slices);
    assert_eq!(
        (writes, sizes(&slices), slices[0].name_any()),
        (1, vec![1], name)
    );
    let (writes, slices) = step(&service, &[], slices);
    assert_eq!((writes, sizes(&slices)), (1, vec![0]));
    assert_eq!(step(&service, &[], slices).0, 0);
}

#[test]
fn slices_hold_a_hundred_endpoints_and_one_change_is_one_write() {
    let service = service(json!({}));
    let mut pods: Vec<_> = (0..250).map(|index| pod(index, |_| {})).collect();
    let (_, slices) = step(&service, &pods, Vec::new());
    assert_eq!(sizes(&slices), [CAPACITY, CAPACITY, 50]);
    assert_eq!(step(&service, &pods, slices.clone()).0, 0);
    pods[120] = pod(120, unready);
    let (writes, slices) = step(&service, &pods, slices);
    assert_eq!(writes, 1);
    pods.remove(7);
    pods.push(pod(300, |_| {}));
    let (writes, slices) = step(&service, &pods, slices);
    assert_eq!((writes, sizes(&slices)), (1, vec![CAPACITY, CAPACITY, 50]));
}

#[test]
fn pods_with_other_port_numbers_get_slices_of_their_own() {
    let service = service(json!({}));
    let moved =
        |pod: &mut Value| pod["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    let (_, slices) = step(&service, &[pod(0, |_| {}), pod(1, moved)], Vec::new());
    let ports: Vec<_> = slices
        .iter()
        .map(|slice| slice.ports.as_ref().unwrap()[0].port.unwrap())
        .collect();
    assert_eq!((sizes(&slices), ports), (vec![1, 1], vec![8080, 9090]));
}

#[test]
fn a_slice_names_its_service_its_manager_and_its_owner() {
    let headless = service(json!({"clusterIP": "None"}));
    let (_, slices) = step(&headless, &[pod(0, |_| {})], Vec::new());
    let labels = slices[0].labels();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(
        labels["endpointslice.kubernetes.io/managed-by"],
        slices::MANAGER
    );
    assert_eq!(labels["team"], "x");
    assert!(labels.contains_key("service.kubernetes.io/headless"));
    assert_eq!(slices[0].owner_references()[0].uid, "s");
}

#[test]
fn endpoints_group_by_ports_part_ready_from_unready_and_leave_out_terminating() {
    let plain = service(json!({}));
    let pods = [
        pod(1, |_| {}),
        pod(0, |_| {}),
        pod(2, unready),
        pod(3, terminating),
    ];
    let endpoints = subsets::desired(&plain, read(&plain, &pods), None);
    let subset = &endpoints.subsets.as_ref().unwrap()[0];
    let ips: Vec<_> = subset
        .addresses
        .iter()
        .flatten()
        .map(|address| address.ip.as_str())
        .collect();
    assert_eq!(ips, ["10.244.0.2", "10.244.0.3"]);
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 1);
    assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
    assert_eq!(
        subsets::desired(&plain, read(&plain, &pods), Some(&endpoints)),
        endpoints
    );
}

#[test]
fn endpoints_are_cut_at_a_thousand_and_say_so() {
    let plain = service(json!({}));
    let pods: Vec<_> = (0..1001).map(|index| pod(index, |_| {})).collect();
    let endpoints = subsets::desired(&plain, read(&plain, &pods), None);
    assert_eq!(
        endpoints.subsets.as_ref().unwrap()[0]
            .addresses
            .as_ref()
            .unwrap()
            .len(),
        1000
    );
    assert_eq!(
        endpoints.annotations()["endpoints.kubernetes.io/over-capacity"],
        "truncated"
    );
}
