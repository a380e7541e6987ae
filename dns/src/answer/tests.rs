//! The specification's cases, over a small cluster.

use std::sync::Arc;

use super::*;
use crate::plan;
use crate::zone::Domain;
use hickory_proto::op::ResponseCode::{NXDomain, NoError, Refused};
use k8s_openapi::api::core::v1::Service as ServiceObject;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, from_value, json};

fn service(name: &str, spec: Value) -> ServiceObject {
    let metadata = json!({"name": name, "namespace": "shop"});
    from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn slice(service: &str, family: &str, endpoints: Value, ports: Value) -> EndpointSlice {
    let labels = json!({"kubernetes.io/service-name": service});
    from_value(json!({
        "metadata": {"name": format!("{service}-x"), "namespace": "shop", "labels": labels},
        "addressType": family, "endpoints": endpoints, "ports": ports,
    }))
    .unwrap()
}

fn zone() -> Zone {
    let services = [
        service(
            "web",
            json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00::20"], "ports": [
            {"name": "http", "port": 80, "protocol": "TCP"}, {"port": 81}]}),
        ),
        service(
            "db",
            json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}),
        ),
        service("idle", json!({"clusterIP": "None"})),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "www.example.com"}),
        ),
        service(
            "near",
            json!({"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"}),
        ),
        service(
            "loop",
            json!({"type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"}),
        ),
    ];
    let sql = json!([{"name": "sql", "port": 15432, "protocol": "TCP"}]);
    let slices = [
        slice(
            "db",
            "IPv4",
            json!([
            {"addresses": ["10.244.1.5"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.2.6"]},
            {"addresses": ["10.244.2.7"], "conditions": {"ready": false}}]),
            sql.clone(),
        ),
        slice(
            "db",
            "IPv6",
            json!([{"addresses": ["fd00::5"], "hostname": "db-0"}]),
            sql,
        ),
        slice(
            "web",
            "IPv4",
            json!([{"addresses": ["10.244.1.9"]}]),
            json!([]),
        ),
    ];
    let pods = [
        ("shop", "10.244.1.5".parse().unwrap()),
        ("other", "fd00::9".parse().unwrap()),
    ];
    Zone::empty(
        Domain::parse("cluster.local").unwrap(),
        "10.96.0.10".parse().unwrap(),
    )
    .with_services(Arc::new(plan::services(&services, &slices)))
    .with_pods(Arc::new(plan::pods(pods)))
}

fn outcome(name: &str, kind: RecordType) -> Outcome {
    answer(
        &zone(),
        &Query::query(Name::from_ascii(name).unwrap(), kind),
    )
}

fn ask(name: &str, kind: RecordType) -> Answer {
    match outcome(name, kind) {
        Outcome::Done(answer) => answer,
        other => panic!("{name}: {other:?}"),
    }
}

/// The answer section as text, sorted.
fn records(name: &str, kind: RecordType) -> Vec<String> {
    let answer = ask(name, kind);
    assert_eq!(answer.code, NoError, "{name}");
    let mut lines: Vec<String> = answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    lines.sort();
    lines
}

fn assert_negative(name: &str, kind: RecordType, code: ResponseCode) {
    let answer = ask(name, kind);
    assert_eq!(
        (answer.code, answer.answers.len()),
        (code, 0),
        "{name} {kind}"
    );
    assert_eq!(
        answer.authorities[0].record_type(),
        RecordType::SOA,
        "{name} {kind}"
    );
    assert!(answer.authoritative);
}

use RecordType as T;

#[test]
fn a_service_has_its_cluster_addresses() {
    assert_eq!(records("web.shop.svc.cluster.local.", T::A), ["10.96.0.20"]);
    assert_eq!(
        records("web.shop.svc.cluster.local.", T::AAAA),
        ["fd00::20"]
    );
}

#[test]
fn case_does_not_matter_and_is_given_back() {
    let answer = ask("WeB.sHOP.svc.Cluster.LOCAL.", T::A);
    assert_eq!(
        answer.answers[0].name.to_ascii(),
        "WeB.sHOP.svc.Cluster.LOCAL."
    );
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    assert_eq!(
        records("db.shop.svc.cluster.local.", T::A),
        ["10.244.1.5", "10.244.2.6"]
    );
    assert_eq!(records("db.shop.svc.cluster.local.", T::AAAA), ["fd00::5"]);
    assert_negative("idle.shop.svc.cluster.local.", T::A, NXDomain);
}

#[test]
fn an_endpoint_answers_to_its_hostname_or_its_dashed_address() {
    assert_eq!(
        records("db-0.db.shop.svc.cluster.local.", T::A),
        ["10.244.1.5"]
    );
    assert_eq!(
        records("10-244-2-6.db.shop.svc.cluster.local.", T::A),
        ["10.244.2.6"]
    );
    assert_negative("10-244-2-7.db.shop.svc.cluster.local.", T::A, NXDomain);
    assert_negative("db-0.web.shop.svc.cluster.local.", T::A, NXDomain);
}

#[test]
fn named_ports_have_srv_records() {
    assert_eq!(
        records("_http._tcp.web.shop.svc.cluster.local.", T::SRV),
        ["0 100 80 web.shop.svc.cluster.local."]
    );
    assert_eq!(
        records("_sql._tcp.db.shop.svc.cluster.local.", T::SRV),
        [
            "0 50 15432 10-244-2-6.db.shop.svc.cluster.local.",
            "0 50 15432 db-0.db.shop.svc.cluster.local.",
        ]
    );
    let answer = ask("_http._tcp.web.shop.svc.cluster.local.", T::SRV);
    assert_eq!(answer.additionals.len(), 2);
}

#[test]
fn names_around_srv_records_exist_or_not() {
    assert_negative("_tcp.web.shop.svc.cluster.local.", T::SRV, NoError);
    assert_negative("_http._tcp.web.shop.svc.cluster.local.", T::A, NoError);
    assert_negative("_udp.web.shop.svc.cluster.local.", T::SRV, NXDomain);
    assert_negative("_http._udp.web.shop.svc.cluster.local.", T::SRV, NXDomain);
    assert_negative("_nope._tcp.web.shop.svc.cluster.local.", T::SRV, NXDomain);
    assert_negative("x._http._tcp.web.shop.svc.cluster.local.", T::SRV, NXDomain);
    assert_negative("http._tcp.web.shop.svc.cluster.local.", T::SRV, NXDomain);
}

#[test]
fn external_names_are_aliases() {
    let name = "out.shop.svc.cluster.local.";
    assert_eq!(records(name, T::CNAME), ["www.example.com."]);
    let Outcome::Follow { so_far, target } = outcome(name, T::A) else {
        panic!()
    };
    assert_eq!(so_far.answers.len(), 1);
    assert_eq!(target.to_ascii(), "www.example.com.");
}

#[test]
fn an_alias_inside_the_cluster_is_followed() {
    let name = "near.shop.svc.cluster.local.";
    assert_eq!(
        records(name, T::A),
        ["10.96.0.20", "web.shop.svc.cluster.local."]
    );
    assert_eq!(ask(name, T::TXT).authorities.len(), 1);
}

#[test]
fn an_alias_to_itself_ends() {
    let answer = ask("loop.shop.svc.cluster.local.", T::A);
    assert_eq!(answer.answers.len(), MAX_ALIASES);
}

#[test]
fn addresses_have_names() {
    assert_eq!(
        records("20.0.96.10.in-addr.arpa.", T::PTR),
        ["web.shop.svc.cluster.local."]
    );
    assert_eq!(
        records("5.1.244.10.in-addr.arpa.", T::PTR),
        ["db-0.db.shop.svc.cluster.local."]
    );
    let v6 = format!("0.2{}.0.0.d.f.ip6.arpa.", ".0".repeat(26));
    assert_eq!(records(&v6, T::PTR), ["web.shop.svc.cluster.local."]);
    assert!(ask("20.0.96.10.in-addr.arpa.", T::A).answers.is_empty());
}

#[test]
fn other_names_are_not_ours() {
    for name in [
        "www.example.com.",
        "1.0.0.127.in-addr.arpa.",
        "96.10.in-addr.arpa.",
        ".",
        "local.",
        "x.arpa.",
    ] {
        assert_eq!(outcome(name, T::A), Outcome::Elsewhere, "{name}");
    }
}

#[test]
fn pods_answer_to_their_address_in_their_namespace() {
    assert_eq!(
        records("10-244-1-5.shop.pod.cluster.local.", T::A),
        ["10.244.1.5"]
    );
    assert_eq!(
        records("fd00--9.other.pod.cluster.local.", T::AAAA),
        ["fd00::9"]
    );
    assert_negative("10-244-1-5.shop.pod.cluster.local.", T::AAAA, NoError);
    assert_negative("10-244-1-5.other.pod.cluster.local.", T::A, NXDomain);
    assert_negative("bad.shop.pod.cluster.local.", T::A, NXDomain);
}

#[test]
fn absent_names_and_absent_types_differ() {
    assert_negative("none.shop.svc.cluster.local.", T::A, NXDomain);
    assert_negative("web.none.svc.cluster.local.", T::A, NXDomain);
    assert_negative("www.example.com.shop.svc.cluster.local.", T::A, NXDomain);
    assert_negative("web.shop.svc.cluster.local.", T::MX, NoError);
    assert_negative("shop.svc.cluster.local.", T::A, NoError);
    assert_negative("none.svc.cluster.local.", T::A, NXDomain);
    assert_negative("svc.cluster.local.", T::A, NoError);
    assert_negative("cluster.local.", T::A, NoError);
    assert_negative("x.cluster.local.", T::A, NXDomain);
}

#[test]
fn the_zone_describes_itself() {
    assert_eq!(records("cluster.local.", T::NS), ["ns.dns.cluster.local."]);
    assert_eq!(records("ns.dns.cluster.local.", T::A), ["10.96.0.10"]);
    assert_eq!(records("dns-version.cluster.local.", T::TXT), ["1.1.0"]);
    let soa = records("cluster.local.", T::SOA);
    assert!(
        soa[0].starts_with("ns.dns.cluster.local. hostmaster.cluster.local. 3 "),
        "{soa:?}"
    );
    assert_eq!(ask("web.shop.svc.cluster.local.", T::ANY).answers.len(), 1);
    assert_eq!(ask("cluster.local.", T::AXFR).code, Refused);
}
