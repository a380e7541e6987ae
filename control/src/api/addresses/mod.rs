//! Cluster addresses and node ports of Services.
//!
//! What is taken follows from the stored Services: it is read at start and kept in step by the write
//! path. A reservation holds new addresses until the write is durable and gives them back if it is
//! not, so that nothing leaks and nothing is given twice.

mod families;
mod plan;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::value::{integer, items, key, name, namespace, text};
use crate::registry::kind::{FieldError, FieldErrorReason};
pub use plan::{AddressPlan, PlanError};

/// A node port with its protocol: the same number may serve TCP and UDP.
type Port = (String, u16);

#[derive(Default)]
struct Taken {
    ips: HashMap<IpAddr, String>,
    ports: HashMap<Port, String>,
    /// By range: the offset after the address given last.
    next_ip: [u128; 2],
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
    /// What is known of other servers' Services, where the store is shared.
    others: shared::Others,
}

/// New addresses of a Service that is not yet stored; given back when dropped.
pub(super) struct Reservation<'a> {
    addresses: &'a Addresses,
    ips: Vec<IpAddr>,
    ports: Vec<Port>,
}

impl Reservation<'_> {
    /// Whether nothing new was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.ips.is_empty() && self.ports.is_empty()
    }

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
            others: shared::Others::default(),
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
        families::settle(service, old, &self.plan.families())?;
        if text(service, "/spec/clusterIP") != "None" {
            let kept = old.map(ips).unwrap_or_default();
            match self.reserve_ips(taken, owner, service, &kept) {
                Ok(ips) => reservation.ips.extend(ips),
                Err(fault) => faults.push(fault),
            }
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

    /// One address of each family of the Service, in their order.
    fn reserve_ips(
        &self,
        taken: &mut Taken,
        owner: &str,
        service: &mut Value,
        kept: &[IpAddr],
    ) -> Result<Vec<IpAddr>, FieldError> {
        let wanted = wanted(service);
        let mut all = Vec::new();
        for (index, family) in items(service, "/spec/ipFamilies").iter().enumerate() {
            let wanted = wanted.get(index).map_or("", String::as_str);
            let family = family.as_str().unwrap_or_default();
            all.push(self.choose(taken, (index, family), wanted, kept)?);
        }
        let new: Vec<IpAddr> = all
            .iter()
            .filter(|ip| !kept.contains(ip))
            .copied()
            .collect();
        for ip in &new {
            taken.ips.insert(*ip, owner.to_owned());
        }
        let texts: Vec<_> = all.iter().map(IpAddr::to_string).collect();
        if let Some(first) = texts.first() {
            service["spec"]["clusterIP"] = first.as_str().into();
            service["spec"]["clusterIPs"] = json!(texts);
        }
        Ok(new)
    }

    /// The address that is wanted, or any that is free if none is.
    fn choose(
        &self,
        taken: &mut Taken,
        (index, family): (usize, &str),
        wanted: &str,
        kept: &[IpAddr],
    ) -> Result<IpAddr, FieldError> {
        let field = match index {
            0 => "spec.clusterIP".to_owned(),
            _ => format!("spec.clusterIPs[{index}]"),
        };
        let fault = |why: String| invalid(&field, why);
        let given = match wanted {
            "" => None,
            _ => Some(wanted.parse::<IpAddr>()),
        };
        let given = given.transpose();
        let given = given.map_err(|_| fault(format!("{wanted:?}: must be a valid IP address")))?;
        if let Some(ip) = given.filter(|ip| kept.contains(ip)) {
            return Ok(ip);
        }
        let range = self.plan.range(family);
        let (place, range) =
            range.ok_or_else(|| fault(format!("{family} is not configured on this cluster")))?;
        let Some(ip) = given else {
            let free = range.free(taken.next_ip[place], |ip| taken.ips.contains_key(&ip));
            let (ip, next) =
                free.ok_or_else(|| fault("no address is left in the service CIDR".to_owned()))?;
            taken.next_ip[place] = next;
            return Ok(ip);
        };
        if !range.contains(ip) {
            let why = "the address is not in the service CIDR";
            return Err(fault(format!("{wanted:?}: {why}")));
        }
        if taken.ips.contains_key(&ip) {
            return Err(fault(format!(
                "{wanted:?}: failed to allocate IP {ip}: provided IP is already allocated"
            )));
        }
        Ok(ip)
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

/// The addresses that a Service names, in order.
fn wanted(service: &Value) -> Vec<String> {
    let all = items(service, "/spec/clusterIPs").iter();
    let all: Vec<String> = all
        .filter_map(|ip| ip.as_str().map(str::to_owned))
        .collect();
    if all.is_empty() {
        vec![text(service, "/spec/clusterIP").to_owned()]
    } else {
        all
    }
}

/// The cluster addresses of a Service.
fn ips(service: &Value) -> Vec<IpAddr> {
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
