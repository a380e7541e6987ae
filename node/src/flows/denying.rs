//! The rule behind a drop counter.
//!
//! Counters are kept per cause and ends, without the rule, so that a flood of flows fills no map. What
//! denies such a flow is asked of the live policy map, in the order in which the data path asks; after
//! a change of policy that is what denies it now.

use naru_ebpf_common::policy::{self, DENY, EGRESS, INGRESS};
use naru_ebpf_common::{DropKey, IpInfo, PolicyKey, Port, Reason, protocol};

use crate::datapath::{Datapath, DatapathError};

/// The number of the rule that denies what the counter counts, 0 if none does.
///
/// # Errors
/// When a map cannot be read.
pub(super) fn rule(datapath: &Datapath, key: &DropKey) -> Result<u32, DatapathError> {
    let (direction, peer) = match key.reason {
        Reason::POLICY_EGRESS_DENIED => (EGRESS, key.dst),
        Reason::POLICY_INGRESS_DENIED => (INGRESS, key.src),
        _ => return Ok(0),
    };
    let identity = datapath.ipcache.lookup(peer)?.unwrap_or(IpInfo::WORLD);
    let exact = PolicyKey {
        endpoint: key.endpoint,
        identity: identity.identity,
        port: match key.protocol {
            protocol::ICMP | protocol::ICMPV6 => Port::ANY,
            _ => key.dst_port,
        },
        protocol: key.protocol,
        direction,
    };
    for step in 0..policy::LOOKUPS {
        if let Some(entry) = datapath.policy.get(&policy::lookup_order(exact, step))? {
            return Ok(if entry.verdict == DENY { entry.rule } else { 0 });
        }
    }
    Ok(0)
}
