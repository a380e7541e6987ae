//! Cluster addresses and node ports of Services.
//!
//! What is taken follows from the stored Services: it is read at start and kept in step by the write
//! path. A reservation holds new addresses until the write is durable and gives them back if it is
//! not, so that nothing leaks and nothing is given twice.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::value::{integer, items, key, name, namespace, text};
use crate::registry::kind::{FieldError, FieldErrorReason};

/// Addresses at the lower end that are only given on request.
const STATIC_BAND: u32 = 256;

/// Ranges to allocate from.
#[derive(Debug, Clone)]
pub struct AddressPlan {
    base: u32,
    size: u32,
    node_ports: RangeInclusive<u16>,
}

/// Why a range is unusable.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The CIDR is malformed, not IPv4, or too small or large.
    #[error("{0}: the service CIDR must be an IPv4 range between /12 and /28")]
    Cidr(String),
    /// The port range is malformed or empty.
    #[error("{0}: the node port range must be FIRST-LAST")]
    Ports(String),
}

impl AddressPlan {
    /// Parses `10.96.0.0/12` and `30000-32767`.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn parse(cidr: &str, ports: &str) -> Result<Self, PlanError> {
        let (base, size) = parse_cidr(cidr).ok_or_else(|| PlanError::Cidr(cidr.to_owned()))?;
        let node_ports = parse_ports(ports).ok_or_else(|| PlanError::Ports(ports.to_owned()))?;
        Ok(Self {
            base,
            size,
            node_ports,
        })
    }

    /// The n-th address of the range.
    pub fn nth(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + index)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        offset > 0 && offset < self.size - 1
    }
}

fn parse_cidr(cidr: &str) -> Option<(u32, u32)> {
    let (address, prefix) = cidr.split_once('/')?;
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let prefix: u32 = prefix.parse().ok()?;
    if !(12..=28).contains(&prefix) {
        return None;
    }
    let size = 1_u32 << (32 - prefix);
    Some((address & !(size - 1), size))
}

fn parse_ports(ports: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = ports.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// A node port with its protocol: the same number may serve TCP and UDP.
type Port = (String, u16);

#[derive(Default)]
struct Taken {
    ips: HashMap<Ipv4Addr, String>,
    ports: HashMap<Port, String>,
    next_ip: u32,
    next_port: u16,
}

/// A place in a Service where a port of the range stands.
struct Slot {
    /// Its name in errors.
    field: String,
    /// What holds it, as a JSON pointer.
    pointer: String,
    member: &'static str,
    protocol: String,
}

fn node_port(service: &Value, index: usize) -> Slot {
    let pointer = format!("/spec/ports/{index}");
    Slot {
        field: format!("spec.ports[{index}].nodePort"),
        protocol: text(service, &format!("{pointer}/protocol")).to_owned(),
        pointer,
        member: "nodePort",
    }
}

/// Where load balancers ask a node whether it has an endpoint, by HTTP.
fn health_port() -> Slot {
    Slot {
        field: "spec.healthCheckNodePort".to_owned(),
        pointer: "/spec".to_owned(),
        member: "healthCheckNodePort",
        protocol: "TCP".to_owned(),
    }
}

fn has_health_port(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer"
        && text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// What is taken by which Service.
pub(super) struct Addresses {
    plan: AddressPlan,
    taken: Mutex<Taken>,
}

/// New addresses of a Service that is not yet stored; given back when dropped.
pub(super) struct Reservation<'a> {
    addresses: &'a Addresses,
    ips: Vec<Ipv4Addr>,
    ports: Vec<Port>,
}

impl Reservation<'_> {
    /// The Service is stored: the addresses are its own.
    pub(super) fn keep(mut self) {
        self.ips.clear();
        self.ports.clear();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut taken = self.addresses.taken.lock();
        for ip in &self.ips {
            taken.ips.remove(ip);
        }
        for port in &self.ports {
            taken.ports.remove(port);
        }
    }
}

impl Addresses {
    pub(super) fn new(plan: AddressPlan) -> Self {
        Self {
            plan,
            taken: Mutex::default(),
        }
    }

    /// Records what a stored Service has.
    pub(super) fn adopt(&self, owner: &str, service: &Value) {
        let mut taken = self.taken.lock();
        for ip in ips(service) {
            taken.ips.insert(ip, owner.to_owned());
        }
        for port in ports(service) {
            taken.ports.insert(port, owner.to_owned());
        }
    }

    /// Frees what `old` had and `new` has not.
    pub(super) fn release(&self, owner: &str, old: &Value, new: Option<&Value>) {
        let (kept_ips, kept_ports) = new.map(|new| (ips(new), ports(new))).unwrap_or_default();
        let mut taken = self.taken.lock();
        for ip in ips(old).into_iter().filter(|ip| !kept_ips.contains(ip)) {
            if taken.ips.get(&ip).is_some_and(|have| have == owner) {
                taken.ips.remove(&ip);
            }
        }
        for port in ports(old)
            .into_iter()
            .filter(|port| !kept_ports.contains(port))
        {
            if taken.ports.get(&port).is_some_and(|have| have == owner) {
                taken.ports.remove(&port);
            }
        }
    }

    /// Takes what the Service asks for or lacks and writes it into the Service.
    ///
    /// # Errors
    /// Every address or port that is out of range or taken, and exhaustion.
    pub(super) fn reserve(
        &self,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation<'_>, Vec<FieldError>> {
        let owner = key(Some(namespace(service)), name(service));
        let mut reservation = Reservation {
            addresses: self,
            ips: Vec::new(),
            ports: Vec::new(),
        };
        let mut taken = self.taken.lock();
        let result = self.reserve_all(&mut taken, &owner, service, old, &mut reservation);
        drop(taken);
        result.map(|()| reservation)
    }

    fn reserve_all(
        &self,
        taken: &mut Taken,
        owner: &str,
        service: &mut Value,
        old: Option<&Value>,
        reservation: &mut Reservation<'_>,
    ) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        let kind = text(service, "/spec/type").to_owned();
        if kind == "ExternalName" {
            return Ok(());
        }
        match self.reserve_ip(taken, owner, service, old) {
            Ok(ip) => reservation.ips.extend(ip),
            Err(fault) => faults.push(fault),
        }
        let balanced = kind == "LoadBalancer"
            && service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&json!(false));
        let mut slots = Vec::new();
        if kind == "NodePort" || balanced {
            let count = items(service, "/spec/ports").len();
            slots.extend((0..count).map(|index| node_port(service, index)));
        }
        if has_health_port(service) {
            slots.push(health_port());
        }
        let held = old.map(ports).unwrap_or_default();
        for slot in slots {
            match self.reserve_port(taken, owner, service, &slot, &held) {
                Ok(port) => reservation.ports.extend(port),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    fn reserve_ip(
        &self,
        taken: &mut Taken,
        owner: &str,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Ipv4Addr>, FieldError> {
        let wanted = text(service, "/spec/clusterIP").to_owned();
        if wanted == "None" {
            return Ok(None);
        }
        let field = "spec.clusterIP";
        let ip = if wanted.is_empty() {
            self.free_ip(taken).ok_or_else(|| {
                invalid(field, "no address is left in the service CIDR".to_owned())
            })?
        } else {
            let ip = wanted.parse::<Ipv4Addr>();
            let ip =
                ip.map_err(|_| invalid(field, format!("{wanted:?}: must be an IPv4 address")))?;
            if old.is_some_and(|old| ips(old).contains(&ip)) {
                return Ok(None);
            }
            if !self.plan.contains(ip) {
                let why = format!("{wanted:?}: the address is not in the service CIDR");
                return Err(invalid(field, why));
            }
            if taken.ips.contains_key(&ip) {
                let why = format!(
                    "{wanted:?}: failed to allocate IP {ip}: provided IP is already allocated"
                );
                return Err(invalid(field, why));
            }
            ip
        };
        taken.ips.insert(ip, owner.to_owned());
        service["spec"]["clusterIP"] = ip.to_string().into();
        service["spec"]["clusterIPs"] = json!([ip.to_string()]);
        Ok(Some(ip))
    }

    /// The next free address after the one given last, outside the static band.
    fn free_ip(&self, taken: &mut Taken) -> Option<Ipv4Addr> {
        let band = STATIC_BAND.min(self.plan.size / 16).max(1);
        let span = self.plan.size - band - 1;
        for step in 0..span {
            let offset = (taken.next_ip + step) % span;
            let ip = self.plan.nth(band + offset);
            if !taken.ips.contains_key(&ip) {
                taken.next_ip = (offset + 1) % span;
                return Some(ip);
            }
        }
        None
    }

    fn reserve_port(
        &self,
        taken: &mut Taken,
        owner: &str,
        service: &mut Value,
        slot: &Slot,
        held: &[Port],
    ) -> Result<Option<Port>, FieldError> {
        let Slot {
            field,
            pointer,
            member,
            protocol,
        } = slot;
        let wanted = integer(service, &format!("{pointer}/{member}")).unwrap_or(0);
        let port = if wanted == 0 {
            self.free_port(taken, protocol).ok_or_else(|| {
                invalid(field, "no port is left in the node port range".to_owned())
            })?
        } else {
            let port = u16::try_from(wanted)
                .ok()
                .filter(|port| self.plan.node_ports.contains(port));
            let range = &self.plan.node_ports;
            let why = || {
                format!(
                    "{wanted}: provided port is not in the valid range. The range of \
                valid ports is {}-{}",
                    range.start(),
                    range.end()
                )
            };
            let port = port.ok_or_else(|| invalid(field, why()))?;
            if held.contains(&(protocol.clone(), port)) {
                return Ok(None);
            }
            if taken.ports.contains_key(&(protocol.clone(), port)) {
                return Err(invalid(
                    field,
                    format!("{port}: provided port is already allocated"),
                ));
            }
            port
        };
        taken
            .ports
            .insert((protocol.clone(), port), owner.to_owned());
        if let Some(parent) = service.pointer_mut(pointer) {
            parent[*member] = port.into();
        }
        Ok(Some((protocol.clone(), port)))
    }

    fn free_port(&self, taken: &mut Taken, protocol: &str) -> Option<u16> {
        let first = *self.plan.node_ports.start();
        let span = self.plan.node_ports.end() - first + 1;
        for step in 0..span {
            let offset = ((u32::from(taken.next_port) + u32::from(step)) % u32::from(span)) as u16;
            let port = first + offset;
            if !taken.ports.contains_key(&(protocol.to_owned(), port)) {
                taken.next_port = offset + 1;
                return Some(port);
            }
        }
        None
    }
}

fn invalid(field: &str, message: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: FieldErrorReason::Invalid,
        message,
    }
}

/// The cluster addresses of a Service.
fn ips(service: &Value) -> Vec<Ipv4Addr> {
    let ip = text(service, "/spec/clusterIP").parse().ok();
    let more = items(service, "/spec/clusterIPs")
        .iter()
        .filter_map(|ip| ip.as_str()?.parse().ok());
    let mut ips: Vec<_> = ip.into_iter().chain(more).collect();
    ips.sort();
    ips.dedup();
    ips
}

/// The node ports of a Service, that of its health check among them.
fn ports(service: &Value) -> Vec<Port> {
    let number = |number: Option<i64>| u16::try_from(number?).ok().filter(|port| *port > 0);
    let port = |port: &Value| {
        let number = number(integer(port, "/nodePort"))?;
        Some((text(port, "/protocol").to_owned(), number))
    };
    let health = number(integer(service, "/spec/healthCheckNodePort"));
    items(service, "/spec/ports")
        .iter()
        .filter_map(port)
        .chain(health.map(|port| ("TCP".to_owned(), port)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::new(AddressPlan::parse("10.96.0.0/28", "30000-30001").unwrap())
    }

    fn service(name: &str, kind: &str, ip: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"type": kind, "clusterIP": ip,
            "ports": [{"port": 80, "protocol": "TCP"}]}})
    }

    #[test]
    fn a_failed_write_gives_its_addresses_back() {
        let addresses = addresses();
        let mut first = service("a", "ClusterIP", "10.96.0.5");
        drop(addresses.reserve(&mut first, None).ok().unwrap());
        addresses.reserve(&mut first, None).ok().unwrap().keep();
        let faults = addresses
            .reserve(&mut service("b", "ClusterIP", "10.96.0.5"), None)
            .err();
        assert_eq!(faults.unwrap()[0].field, "spec.clusterIP");
        addresses.release("n/a", &first, None);
        assert!(
            addresses
                .reserve(&mut service("b", "ClusterIP", "10.96.0.5"), None)
                .is_ok()
        );
    }

    #[test]
    fn no_address_is_given_twice_and_exhaustion_is_said() {
        let addresses = addresses();
        let mut given = Vec::new();
        loop {
            let mut new = service(&format!("s{}", given.len()), "ClusterIP", "");
            match addresses.reserve(&mut new, None) {
                Ok(reservation) => reservation.keep(),
                Err(faults) => {
                    assert!(faults[0].message.contains("no address is left"));
                    break;
                }
            }
            given.push(text(&new, "/spec/clusterIP").to_owned());
        }
        assert_eq!(given.len(), 14);
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 14);
    }

    #[test]
    fn node_ports_are_unique_per_protocol_and_in_range() {
        let addresses = addresses();
        let mut first = service("a", "NodePort", "");
        addresses.reserve(&mut first, None).ok().unwrap().keep();
        assert_eq!(first["spec"]["ports"][0]["nodePort"], 30000);
        let mut same = service("b", "NodePort", "");
        same["spec"]["ports"][0]["nodePort"] = 30000.into();
        let faults = addresses.reserve(&mut same, None).err().unwrap();
        assert_eq!(faults[0].field, "spec.ports[0].nodePort");
        same["spec"]["ports"][0]["protocol"] = "UDP".into();
        assert!(addresses.reserve(&mut same, None).is_ok());
        same["spec"]["ports"][0]["nodePort"] = 29999.into();
        assert!(addresses.reserve(&mut same, None).is_err());
    }

    #[test]
    fn a_balanced_service_with_a_local_policy_gets_a_health_port() {
        let plan = AddressPlan::parse("10.96.0.0/28", "30000-30003");
        let addresses = Addresses::new(plan.unwrap());
        let mut local = service("a", "LoadBalancer", "");
        local["spec"]["externalTrafficPolicy"] = "Local".into();
        addresses.reserve(&mut local, None).ok().unwrap().keep();
        assert_eq!(local["spec"]["ports"][0]["nodePort"], 30000);
        assert_eq!(local["spec"]["healthCheckNodePort"], 30001);
        let before = local.clone();
        addresses
            .reserve(&mut local, Some(&before))
            .ok()
            .unwrap()
            .keep();
        assert_eq!(local, before);
        let mut other = service("b", "NodePort", "");
        other["spec"]["ports"][0]["nodePort"] = 30001.into();
        assert!(addresses.reserve(&mut other, None).is_err());
        addresses.release("n/a", &local, None);
        assert!(addresses.reserve(&mut other, None).is_ok());
    }

    #[test]
    fn an_update_keeps_what_it_has() {
        let addresses = addresses();
        let mut first = service("a", "NodePort", "");
        addresses.reserve(&mut first, None).ok().unwrap().keep();
        let before = first.clone();
        addresses
            .reserve(&mut first, Some(&before))
            .ok()
            .unwrap()
            .keep();
        assert_eq!(first, before);
        assert!(
            addresses
                .reserve(
                    &mut service("b", "ClusterIP", text(&first, "/spec/clusterIP")),
                    None
                )
                .is_err()
        );
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for (cidr, ports) in [
            ("10.0.0.0/8", "1-2"),
            ("x", "1-2"),
            ("10.96.0.0/12", "5-1"),
            ("fd00::/64", "1-2"),
            ("10.96.0.0/12", "70000-80000"),
        ] {
            assert!(AddressPlan::parse(cidr, ports).is_err(), "{cidr} {ports}");
        }
    }
}
