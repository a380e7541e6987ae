//! What would happen to a connection: the hooks' own decisions over a copy of the live maps.

use std::net::IpAddr;

use naru_ebpf_common::ipcache::HOST;
use naru_ebpf_common::policy::DENY;
use naru_ebpf_common::{Addr, Endpoint, IpInfo, PolicyEntry, Port, Reason, counter, protocol};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::socket::{self, Outcome, Target};
use naru_ebpf_logic::{Action, Maps, Packet, Step as Taken, Verdict as Decision};
use naru_node_api::flows::{Step, Verdict, WhyRequest, WhyResponse};
use tonic::Status;

use super::resolve::{Resolver, direction};
use super::snapshot;
use crate::network::{Names, Network, Who, chain};

/// A source port that stands for any.
const SOURCE_PORT: u16 = 40_000;

/// Explains a connection as this node would treat it: of a pod of this node from its socket on; of
/// a pod of another node from its arrival on the uplink, or out of the overlay, on.
///
/// # Errors
/// `InvalidArgument` for what cannot be read, `NotFound` for an unknown pod.
pub(super) fn explain(network: &Network, request: &WhyRequest) -> Result<WhyResponse, Status> {
    let question = Question::read(network, request)?;
    let snapshot = snapshot::copy(&network.datapath, (question.port, question.protocol))
        .map_err(|error| Status::internal(chain(&error)))?;
    let mut answer = Answer {
        resolver: Resolver::of(network),
        response: WhyResponse::default(),
    };
    match snapshot.endpoint(&question.source) {
        Some(endpoint) => answer.leave(&snapshot, &question, endpoint),
        None => answer.arrive(&snapshot, &question),
    }
    answer.name_next(&network.names(), network);
    Ok(answer.response)
}

struct Question {
    source: Addr,
    destination: Addr,
    port: Port,
    protocol: u8,
}

impl Question {
    fn read(network: &Network, request: &WhyRequest) -> Result<Self, Status> {
        let invalid = |text: String| Status::invalid_argument(text);
        let destination: IpAddr = request
            .destination
            .parse()
            .map_err(|_| invalid(format!("{:?} is not an address", request.destination)))?;
        let port = u16::try_from(request.port)
            .map_err(|_| invalid(format!("{} is not a port", request.port)))?;
        let protocol = match request.protocol.to_ascii_uppercase().as_str() {
            "" | "TCP" => protocol::TCP,
            "UDP" => protocol::UDP,
            "SCTP" => protocol::SCTP,
            other => {
                return Err(invalid(format!(
                    "protocol {other:?} is neither TCP, UDP nor SCTP"
                )));
            }
        };
        let source =
            address_of(&network.names(), &request.namespace, &request.pod).ok_or_else(|| {
                Status::not_found(format!("no pod {}/{}", request.namespace, request.pod))
            })?;
        Ok(Self {
            source: source.into(),
            destination: destination.into(),
            port: Port::new(port),
            protocol,
        })
    }

    fn packet(&self, hook: u8) -> Packet {
        let mut packet = Packet::default();
        (packet.src, packet.dst) = (self.source, self.destination);
        (packet.src_port, packet.dst_port) = (Port::new(SOURCE_PORT), self.port);
        packet.protocol = self.protocol;
        packet.tcp.flags = if self.protocol == protocol::TCP {
            protocol::SYN
        } else {
            0
        };
        (packet.hook, packet.len) = (hook, 60);
        packet
    }
}

fn address_of(names: &Names, namespace: &str, name: &str) -> Option<IpAddr> {
    let mut all = names.addresses.iter();
    all.find_map(|(ip, who)| match who {
        Who::Pod(pod) if pod.namespace == namespace && pod.name == name => Some(*ip),
        _ => None,
    })
}

struct Answer {
    resolver: Resolver,
    response: WhyResponse,
}

impl Answer {
    /// From the pod's socket to wherever the packet goes.
    fn leave(&mut self, snapshot: &Snapshot, question: &Question, endpoint: &Endpoint) {
        let mut target = Target {
            addr: question.destination,
            port: question.port,
            protocol: question.protocol,
        };
        let netns = namespace_of(snapshot, question.source);
        let outcome = socket::connect(snapshot, &mut target, || netns);
        self.tell(snapshot);
        if let Outcome::Refused(reason) = outcome {
            self.say(format!("connect: refused, {}", refusal(reason)), true);
            return self.decide(Decision::drop(reason), &Packet::default(), snapshot);
        }
        let question = Question {
            destination: target.addr,
            port: target.port,
            ..*question
        };
        let mut packet = question.packet(counter::FROM_POD);
        let decision = naru_ebpf_logic::from_pod(snapshot, &mut packet, endpoint.ifindex);
        self.decide(decision, &packet, snapshot);
    }

    /// From the uplink or the overlay on, for a pod of another node.
    fn arrive(&mut self, snapshot: &Snapshot, question: &Question) {
        let overlay = snapshot
            .config()
            .is_some_and(|facts| facts.overlay_ifindex != 0);
        let (packet, decision) = if overlay {
            let mut packet = question.packet(counter::FROM_OVERLAY);
            let node = snapshot.ip_info(&question.source).map(|info| info.node);
            let node = node.map_or(0, |node| node.word_v4());
            let decision = naru_ebpf_logic::from_overlay(snapshot, &mut packet, node);
            (packet, decision)
        } else {
            let mut packet = question.packet(counter::FROM_NETWORK);
            let decision = naru_ebpf_logic::from_network(snapshot, &mut packet);
            (packet, decision)
        };
        self.decide(decision, &packet, snapshot);
    }

    fn decide(&mut self, decision: Decision, packet: &Packet, snapshot: &Snapshot) {
        self.tell(snapshot);
        let response = &mut self.response;
        response.verdict = Verdict::Forwarded.into();
        let end = self.resolver.text(packet.dst, packet.dst_port);
        match decision.action() {
            Action::Drop(reason) | Action::Refuse(reason) => {
                let found = packet.found;
                let policies =
                    self.resolver
                        .policies(found.endpoint, found.direction, found.rule, reason);
                let word = match decision.action() {
                    Action::Refuse(_) => "refused",
                    _ => "dropped",
                };
                let text = format!("{word}: {} ({})", reason.name(), reason.help());
                response.steps.push(Step {
                    text,
                    failed: true,
                    policies: policies.clone(),
                });
                response.verdict = Verdict::Dropped.into();
                response.reason = reason.name().to_owned();
                response.policies = policies;
            }
            Action::Deliver { .. } => self.say(format!("delivered to {end}"), false),
            Action::Queue { .. } => {
                self.say(
                    format!("delivered to {end} at the pace of its limit"),
                    false,
                );
            }
            Action::Pass => self.say(format!("handed to the node's own stack: {end}"), false),
            Action::Uplink { .. } => {
                self.say(format!("sent out of the uplink to {end}"), false);
                self.go_on_elsewhere(packet);
            }
            Action::Encapsulate { node } => {
                let node = Addr::v4_word(node);
                let (who, node) = (self.resolver.who(node), IpAddr::from(node));
                let text = format!("sent through the overlay to {who} ({node}) for {end}");
                self.say(text, false);
                self.go_on_elsewhere(packet);
            }
            Action::HandOn { node } => {
                let node = Addr::v4_word(node);
                let (who, node) = (self.resolver.who(node), IpAddr::from(node));
                let backend = self.resolver.text(packet.to.dst, packet.to.dst_port);
                let text = format!(
                    "handed on as it is to {who} ({node}), which has {backend} and answers itself"
                );
                self.say(text, false);
            }
        }
    }

    fn go_on_elsewhere(&mut self, packet: &Packet) {
        self.response.next_address = IpAddr::from(packet.dst).to_string();
        self.response.next_port = packet.dst_port.get().into();
    }

    /// The node where the address lives that the packet leaves for.
    fn name_next(&mut self, names: &Names, network: &Network) {
        let Ok(address) = self.response.next_address.parse::<IpAddr>() else {
            return;
        };
        let info = network
            .datapath
            .ipcache
            .lookup(address.into())
            .ok()
            .flatten();
        let node = info
            .filter(|info| info.node != Addr::UNSPECIFIED)
            .map(|info| IpAddr::from(info.node));
        if let Some(Who::Node(node)) = node.and_then(|node| names.addresses.get(&node)) {
            self.response.next_node.clone_from(node);
        }
    }

    fn say(&mut self, text: String, failed: bool) {
        self.response.steps.push(Step {
            text,
            failed,
            policies: Vec::new(),
        });
    }

    /// The steps that the decision took, in words. The verdict is told by the caller.
    fn tell(&mut self, snapshot: &Snapshot) {
        for taken in snapshot.take_steps() {
            if let Some(step) = self.resolver.step(&taken) {
                self.response.steps.push(step);
            }
        }
    }
}

impl Resolver {
    /// Name and address of an end.
    fn text(&self, addr: Addr, port: Port) -> String {
        format!("{} ({}:{})", self.who(addr), IpAddr::from(addr), port.get())
    }

    fn who(&self, addr: Addr) -> String {
        let peer = self.peer(addr, Port::default());
        match peer.kind.as_str() {
            "pod" => format!("pod {}/{}", peer.namespace, peer.pod),
            "node" => format!("node {}", peer.node),
            "ingress" => format!("ingress proxy of node {}", peer.node),
            "dns" => "cluster DNS".to_owned(),
            _ => "outside".to_owned(),
        }
    }

    fn step(&self, taken: &Taken) -> Option<Step> {
        let mut policies = Vec::new();
        let text = match *taken {
            Taken::Endpoint(addr, endpoint) => {
                format!(
                    "{} is endpoint {} of this node",
                    self.who(addr),
                    endpoint.id
                )
            }
            Taken::NotLocal(addr) => format!("{} is not a pod of this node", self.who(addr)),
            Taken::Identity(addr, info) => {
                format!("{} has identity {}", self.who(addr), identity(&info))
            }
            Taken::Known => "the flow is open already".to_owned(),
            Taken::JudgeAgain => "the policy has changed: the flow is judged again".to_owned(),
            Taken::New => "the flow is new".to_owned(),
            Taken::Exempt => "one end is the node itself: no policy applies".to_owned(),
            Taken::NotIsolated(way) => format!("no policy isolates the pod for {}", direction(way)),
            Taken::Policy(key, entry) => {
                let reason = verdict(&entry);
                policies = self.policies(key.endpoint, key.direction, entry.rule, reason);
                let way = direction(key.direction);
                match (entry.verdict == DENY, entry.rule) {
                    (true, 0) => isolated(way),
                    (true, _) => format!("{way} denied"),
                    (false, 0) => format!("{way} allowed: no policy decides"),
                    (false, _) => format!("{way} allowed"),
                }
            }
            Taken::NoRule(key) => {
                let reason = Reason::POLICY_INGRESS;
                policies = self.policies(key.endpoint, key.direction, 0, reason);
                isolated(direction(key.direction))
            }
            Taken::Service(key, service) => {
                let name = self.service(key.addr, key.port, key.protocol);
                format!(
                    "{}:{} is service {name} with {} endpoints",
                    key.addr, key.port, service.backends
                )
            }
            Taken::Kept(client) => {
                format!("{} keeps the endpoint that it had", self.who(client))
            }
            Taken::Table(slot, size) => {
                format!("slot {slot} of the service's lookup table of {size} decides")
            }
            Taken::Backend(backend) => {
                format!("endpoint chosen: {}", self.text(backend.addr, backend.port))
            }
            Taken::Translated(entry) => format!(
                "addresses become {}:{} → {}:{}",
                entry.src, entry.src_port, entry.dst, entry.dst_port
            ),
            Taken::Verdict(_) => return None,
        };
        let failed = match taken {
            Taken::NoRule(_) => true,
            Taken::Policy(_, entry) => entry.verdict == DENY,
            _ => false,
        };
        Some(Step {
            text,
            failed,
            policies,
        })
    }
}

fn isolated(way: &str) -> String {
    format!("no rule allows it: the pod is isolated for {way}")
}

/// A reason that stands for the verdict of an entry.
fn verdict(entry: &PolicyEntry) -> Reason {
    if entry.verdict == DENY {
        Reason::POLICY_INGRESS_DENIED
    } else {
        Reason::FORWARDED
    }
}

/// Why a `connect` is refused.
fn refusal(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_LOCAL_BACKEND => "the service has no ready endpoint on this node",
        Reason::SOURCE_RANGE => "the load balancer's source ranges do not hold the pod",
        _ => "the service has no ready endpoint",
    }
}

/// The cookie of a pod's network namespace; 0, which is nobody's, when there is none.
fn namespace_of(snapshot: &Snapshot, pod: Addr) -> u64 {
    let mut all = snapshot.namespaces.iter();
    all.find_map(|(cookie, addr)| (addr.like(&pod) == pod).then_some(*cookie))
        .unwrap_or(0)
}

fn identity(info: &IpInfo) -> String {
    if info.flags & HOST == 0 {
        return info.identity.to_string();
    }
    format!("{} and ends in the node's own stack", info.identity)
}
