//! Names for an event: pods, nodes, services and policies instead of numbers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use naru_ebpf_common::event::{DROP, FLOW_END, FLOW_START};
use naru_ebpf_common::policy::EGRESS;
use naru_ebpf_common::{
    Addr, Conn, DropCount, DropKey, Event, Port, Reason, Tuple, counter, protocol,
};
use naru_node_api::flows::{Drop, Flow, Kind, Peer, Verdict};

use super::past;
use crate::datapath::monotonic_ns;
use crate::network::{Names, Network, ServiceNames, Who};

/// The names of one moment.
#[derive(Debug)]
pub struct Resolver {
    node: String,
    names: Arc<Names>,
    services: Arc<ServiceNames>,
    /// Nanoseconds from the monotonic clock to the epoch's.
    epoch: u64,
}

impl Resolver {
    /// The names as they are now.
    pub fn of(network: &Network) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        Self {
            node: network.node_name().to_owned(),
            names: network.names(),
            services: network.service_names(),
            epoch: wall.saturating_sub(monotonic_ns()),
        }
    }

    /// An event with names.
    pub fn flow(&self, event: &Event) -> Flow {
        let (kind, verdict) = match event.kind {
            FLOW_START => (Kind::Start, Verdict::Forwarded),
            FLOW_END => (Kind::End, Verdict::Forwarded),
            DROP => (Kind::Drop, Verdict::Dropped),
            _ => (Kind::Judged, Verdict::Forwarded),
        };
        let policies = self.policies(event.endpoint, event.direction, event.rule, event.reason);
        let direction = if policies.is_empty() {
            ""
        } else {
            direction(event.direction)
        };
        Flow {
            time_ns: self.epoch + event.time_ns,
            node: self.node.clone(),
            kind: kind.into(),
            verdict: verdict.into(),
            protocol: protocol::name(event.protocol).to_owned(),
            source: Some(self.peer(event.src, event.src_port)),
            destination: Some(self.peer(event.dst, event.dst_port)),
            service: self.service(event.dst, event.dst_port, event.protocol),
            reason: reason(event.reason),
            reason_number: event.reason.0.into(),
            policies,
            direction: direction.to_owned(),
            packets: event.count,
            bytes: event.bytes,
            hook: counter::hook_name(event.hook).to_owned(),
        }
    }

    /// The opening of a flow in the flow table, with names.
    pub fn opening(&self, tuple: &Tuple, conn: &Conn) -> Flow {
        let rules = &self.names.rules;
        let is_egress = |rule| rules.name(rule).is_some_and(|name| name.egress);
        self.flow(&past::opening(tuple, conn, is_egress))
    }

    /// A drop counter with names. It does not hold the rule: `rule` is the one that denies such a
    /// flow now, 0 if none does.
    pub fn drop(&self, key: &DropKey, count: &DropCount, rule: u32) -> Drop {
        let direction = if is_egress(key.reason) {
            EGRESS
        } else {
            naru_ebpf_common::policy::INGRESS
        };
        Drop {
            reason: reason(key.reason),
            reason_number: key.reason.0.into(),
            help: key.reason.help().to_owned(),
            source: Some(self.peer(key.src, Port::default())),
            destination: Some(self.peer(key.dst, key.dst_port)),
            protocol: protocol::name(key.protocol).to_owned(),
            service: self.service(key.dst, key.dst_port, key.protocol),
            policies: self.policies(key.endpoint, direction, rule, key.reason),
            packets: count.packets,
            bytes: count.bytes,
            first_ns: self.epoch + count.first_ns,
            last_ns: self.epoch + count.reported_ns,
        }
    }

    /// Who is at one end.
    pub fn peer(&self, addr: Addr, port: Port) -> Peer {
        let ip = IpAddr::from(addr);
        let peer = Peer {
            ip: ip.to_string(),
            port: port.get().into(),
            ..Peer::default()
        };
        match self.names.addresses.get(&ip) {
            Some(Who::Pod(pod)) => Peer {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                node: pod.node_name.clone(),
                kind: "pod".into(),
                ..peer
            },
            Some(Who::Node(node)) => Peer {
                node: node.clone(),
                kind: "node".into(),
                ..peer
            },
            Some(Who::Ingress(node)) => Peer {
                node: node.clone(),
                kind: "ingress".into(),
                ..peer
            },
            Some(Who::Dns) => Peer {
                node: self.node.clone(),
                kind: "dns".into(),
                ..peer
            },
            None => Peer {
                kind: "world".into(),
                ..peer
            },
        }
    }

    /// NAMESPACE/NAME of the Service that an address and port belong to, empty without one.
    pub fn service(&self, addr: Addr, port: Port, protocol: u8) -> String {
        let name = self.services.of(addr, port, protocol);
        name.map_or_else(String::new, |name| {
            format!("{}/{}", name.namespace, name.name)
        })
    }

    /// The policies that decided: the rule's, or those that isolate the pod when no rule matched.
    pub fn policies(&self, endpoint: u32, direction: u8, rule: u32, reason: Reason) -> Vec<String> {
        if let Some(name) = self.names.rules.name(rule) {
            return vec![name.to_string()];
        }
        if !reason.is_policy() {
            return Vec::new();
        }
        let isolating = self.names.isolating.get(&(endpoint, direction));
        isolating
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect()
    }
}

/// `ingress` or `egress`.
pub(super) fn direction(direction: u8) -> &'static str {
    if direction == EGRESS {
        "egress"
    } else {
        "ingress"
    }
}

fn is_egress(reason: Reason) -> bool {
    matches!(reason, Reason::POLICY_EGRESS | Reason::POLICY_EGRESS_DENIED)
}

fn reason(reason: Reason) -> String {
    if reason == Reason::FORWARDED {
        String::new()
    } else {
        reason.name().to_owned()
    }
}
