//! Services: finding one, choosing a backend.

use naru_ebpf_common::{Addr, Backend, BackendKey, NodeConfig, Port, Service, ServiceKey};

use crate::{Maps, Step};

/// A service may change between the lookup of the service and that of its slot.
const TRIES: usize = 2;

/// The key of the service at an address; a node port has one entry for all addresses of a node.
#[inline(always)]
pub(crate) fn key(addr: Addr, port: Port, protocol: u8) -> ServiceKey {
    ServiceKey {
        addr,
        port,
        protocol,
        reserved: 0,
    }
}

/// Whether a port is a node port.
#[inline(always)]
pub(crate) fn is_node_port(config: &NodeConfig, port: Port) -> bool {
    port.between(config.node_port_first, config.node_port_last)
}

/// The answer to the question for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    /// No service has this address.
    NoService,
    /// The service has no backend.
    NoBackend,
    /// The service and the chosen backend.
    Chosen(&'a Service, &'a Backend),
}

/// Looks a service up and chooses a backend by `number`, any 32 bits: the same number chooses the
/// same backend as long as the service does not change.
#[inline(always)]
pub(crate) fn choose<'a, M: Maps>(m: &'a M, key: &ServiceKey, number: u32) -> Choice<'a> {
    for _ in 0..TRIES {
        let Some(service) = m.service(key) else {
            return Choice::NoService;
        };
        m.step(|| Step::Service(*key, *service));
        if service.backends == 0 {
            return Choice::NoBackend;
        }
        let slot = scale(number, service.backends);
        let slot_key = BackendKey {
            revision: service.revision,
            slot,
        };
        if let Some(backend) = m.backend(&slot_key) {
            m.step(|| Step::Backend(*backend));
            return Choice::Chosen(service, backend);
        }
    }
    Choice::NoBackend
}

/// Maps 32 even bits evenly to `0..count`.
#[inline(always)]
const fn scale(number: u32, count: u32) -> u32 {
    ((number as u64 * count as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn numbers_are_spread_evenly_and_in_range() {
        assert_eq!(scale(0, 3), 0);
        assert_eq!(scale(u32::MAX, 3), 2);
        let mut slots = [0; 3];
        for i in 0..3000_u32 {
            slots[scale(i.wrapping_mul(0x9E37_79B9), 3) as usize] += 1;
        }
        assert!(slots.iter().all(|n| (900..1100).contains(n)), "{slots:?}");
    }
}
