//! DNS messages, as any client of the cluster's resolver may send them (RFC 1035).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use naru_dns::resolver::Step;
use naru_dns::wire::Transport;
use naru_dns::{Domain, Resolver, ResolverConfig, Zone, plan};
use serde_json::json;

use super::answer;
use crate::Target;

/// The longest reply over UDP that anybody may get (DNS flag day 2020).
const MAX_UDP: usize = 1232;

pub(super) struct Names(Resolver);

impl Names {
    pub(super) fn new() -> Self {
        let domain = Domain::parse("cluster.local").expect("it is a domain");
        let zone = Zone::empty(domain, IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)));
        let (services, slices) = cluster();
        let zone = zone.with_services(Arc::new(plan::services(&services, &slices)));
        let pod = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 2));
        let zone = zone.with_pods(Arc::new(plan::pods([("shop", pod)])));
        Self(Resolver::new(
            Arc::new(ArcSwap::from_pointee(zone)),
            ResolverConfig::default(),
        ))
    }
}

/// A Service of each kind, one of them with more endpoints than a datagram holds.
fn cluster() -> (Vec<Service>, Vec<EndpointSlice>) {
    let service = |name: &str, spec| {
        let service = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        serde_json::from_value(service).expect("it is a Service")
    };
    let port = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let services = vec![
        service("web", json!({"clusterIP": "10.96.0.50", "ports": port})),
        service("all", json!({"clusterIP": "None", "ports": port})),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "example.org"}),
        ),
    ];
    let endpoints = (0..100).map(|n| {
        json!({"addresses": [format!("10.244.1.{n}")], "hostname": format!("all-{n}"),
            "conditions": {"ready": true}})
    });
    let slice = json!({
        "metadata": {"name": "all-1", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "all"}},
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": port,
    });
    let slice = serde_json::from_value(slice).expect("it is a slice");
    (services, vec![slice])
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(name).expect("it is a name");
    message.add_query(Query::query(name, kind));
    message.to_vec().expect("it can be encoded")
}

impl Target for Names {
    fn examples(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = [
            ("web.shop.svc.cluster.local.", RecordType::A),
            ("all.shop.svc.cluster.local.", RecordType::A),
            ("all-7.all.shop.svc.cluster.local.", RecordType::AAAA),
            ("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV),
            ("out.shop.svc.cluster.local.", RecordType::CNAME),
            ("10-244-1-2.shop.pod.cluster.local.", RecordType::A),
            ("50.0.96.10.in-addr.arpa.", RecordType::PTR),
            ("cluster.local.", RecordType::SOA),
            ("dns-version.cluster.local.", RecordType::TXT),
            ("example.org.", RecordType::MX),
        ]
        .map(|(name, kind)| question(name, kind))
        .into();
        // With EDNS (RFC 6891): a payload of 4096, and DNSSEC wanted.
        let mut with_edns = all[1].clone();
        with_edns[11] = 1;
        with_edns.extend([0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]);
        all.push(with_edns);
        all
    }

    fn words(&self) -> &[&str] {
        &["\u{0}", "\u{3}svc", "\u{7}cluster", "\u{5}local", "\u{1}*"]
    }

    fn read(&self, input: &[u8]) -> Result<u64, String> {
        let over = |transport| match self.0.receive(input, transport) {
            Step::Reply(reply) => check(input, &reply, transport),
            Step::Ignore => Ok(0),
            Step::Wait(_) => Ok(1),
        };
        Ok(answer((over(Transport::Udp)?, over(Transport::Tcp)?)))
    }
}

/// A reply repeats the id, is a reply, and is no longer than its way allows.
fn check(question: &[u8], reply: &[u8], transport: Transport) -> Result<u64, String> {
    let most = match transport {
        Transport::Udp => MAX_UDP,
        Transport::Tcp => usize::from(u16::MAX),
    };
    if reply.len() > most {
        return Err(format!(
            "a reply of {} bytes over {transport:?}",
            reply.len()
        ));
    }
    if reply.get(..2) != question.get(..2) {
        return Err("the reply has another id".to_owned());
    }
    if question[2] & 0x80 != 0 {
        return Err("a reply is answered".to_owned());
    }
    let message = Message::from_vec(reply).map_err(|e| format!("the reply is broken: {e}"))?;
    let records = message.answers.len() + message.authorities.len();
    Ok(answer((
        reply[2],
        reply[3],
        records.min(3),
        message
            .answers
            .first()
            .map(|it| u16::from(it.record_type())),
        message.edns.is_some(),
    )))
}
