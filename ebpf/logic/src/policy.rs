//! Policy verdicts at the start of a flow.

use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS};
use naru_ebpf_common::policy::{self, DENY, EGRESS};
use naru_ebpf_common::{Endpoint, PolicyKey, Reason};

use crate::{Maps, Packet, Step};

/// Judges the flow that `p` opens at one of its ends. `p` goes in the direction in which the flow
/// was opened and has its identities looked up; the rule that decided is left in `p.found`.
#[inline(always)]
pub(crate) fn judge<M: Maps>(m: &M, p: &mut Packet, endpoint: &Endpoint, direction: u8) -> Reason {
    let isolated = if direction == EGRESS {
        ISOLATED_EGRESS
    } else {
        ISOLATED_INGRESS
    };
    p.found.endpoint = endpoint.id;
    p.found.direction = direction;
    if endpoint.flags & isolated == 0 {
        m.step(|| Step::NotIsolated(direction));
        return Reason::FORWARDED;
    }
    let identity = if direction == EGRESS {
        p.found.dst_identity
    } else {
        p.found.src_identity
    };
    let exact = PolicyKey {
        endpoint: endpoint.id,
        identity,
        port: p.policy_port(),
        protocol: p.protocol,
        direction,
    };
    look_up(m, p, &exact)
}

#[inline(never)]
fn look_up<M: Maps>(m: &M, p: &mut Packet, exact: &PolicyKey) -> Reason {
    for step in 0..policy::LOOKUPS {
        let key = policy::lookup_order(*exact, step);
        if let Some(entry) = m.policy(&key) {
            m.step(|| Step::Policy(key, *entry));
            p.found.rule = entry.rule;
            return if entry.verdict == DENY {
                denied(exact.direction)
            } else {
                Reason::FORWARDED
            };
        }
    }
    m.step(|| Step::NoRule(*exact));
    p.found.rule = 0;
    if exact.direction == EGRESS {
        Reason::POLICY_EGRESS
    } else {
        Reason::POLICY_INGRESS
    }
}

#[inline(always)]
fn denied(direction: u8) -> Reason {
    if direction == EGRESS {
        Reason::POLICY_EGRESS_DENIED
    } else {
        Reason::POLICY_INGRESS_DENIED
    }
}
