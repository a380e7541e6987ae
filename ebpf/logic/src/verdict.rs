//! What is to be done with a packet.

use naru_ebpf_common::Reason;

/// A decision, packed into one register: programs return it from functions out of line, and eBPF
/// returns no more than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict(u64);

/// A decision in readable form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the node's stack.
    Pass,
    /// Into the pod behind this host interface.
    Deliver {
        /// Interface index of the host side of the veth.
        ifindex: u32,
    },
    /// The same through the queue of this host interface, for pods of which that is limited.
    Queue {
        /// Interface index of the host side of the veth.
        ifindex: u32,
    },
    /// Out of the uplink, to the next hop of the route to the packet's destination.
    Uplink {
        /// Interface index of the uplink.
        ifindex: u32,
    },
    /// Through the overlay, to the node with this IPv4 address (network order).
    Encapsulate {
        /// The node's address.
        node: u32,
    },
    /// As it is through the overlay, to the backend's node with this IPv4 address (network order).
    HandOn {
        /// The node's address.
        node: u32,
    },
    /// Nowhere.
    Drop(Reason),
    /// Nowhere, and its sender is told at once: by a TCP reset or an ICMP error.
    Refuse(Reason),
}

const KIND: u32 = 56;
const REWRITTEN: u64 = 1 << 48;
const PASS: u64 = 0;
const DELIVER: u64 = 1;
const QUEUE: u64 = 2;
const UPLINK: u64 = 3;
const ENCAPSULATE: u64 = 4;
const HAND_ON: u64 = 5;
const DROP: u64 = 6;
const REFUSE: u64 = 7;
/// Place of the bytes that would fit, in a verdict on a packet that is too big.
const FITS: u32 = 8;

impl Verdict {
    /// To the node's stack.
    pub const PASS: Self = Self(PASS << KIND);

    /// Into the pod behind host interface `ifindex`.
    #[inline(always)]
    pub const fn deliver(ifindex: u32) -> Self {
        Self(DELIVER << KIND | ifindex as u64)
    }

    /// Into the pod behind host interface `ifindex`, through that interface's queue.
    #[inline(always)]
    pub const fn queue(ifindex: u32) -> Self {
        Self(QUEUE << KIND | ifindex as u64)
    }

    /// Out of the uplink `ifindex`.
    #[inline(always)]
    pub const fn uplink(ifindex: u32) -> Self {
        Self(UPLINK << KIND | ifindex as u64)
    }

    /// Through the overlay to `node`, an IPv4 address in network order.
    #[inline(always)]
    pub const fn encapsulate(node: u32) -> Self {
        Self(ENCAPSULATE << KIND | node as u64)
    }

    /// As it is to the backend's `node`, an IPv4 address in network order.
    #[inline(always)]
    pub const fn hand_on(node: u32) -> Self {
        Self(HAND_ON << KIND | node as u64)
    }

    /// Nowhere, for `reason`.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self(DROP << KIND | reason.0 as u64)
    }

    /// Nowhere, for `reason`, and its sender is told at once.
    #[inline(always)]
    pub const fn refuse(reason: Reason) -> Self {
        Self(REFUSE << KIND | reason.0 as u64)
    }

    /// Nowhere, for only `fits` bytes of it would fit, and its sender is told so.
    #[inline(always)]
    pub const fn too_big(fits: u16) -> Self {
        Self(REFUSE << KIND | (fits as u64) << FITS | Reason::TOO_BIG.0 as u64)
    }

    /// How many bytes of a packet that is too big would fit.
    #[inline(always)]
    pub const fn fits(self) -> u16 {
        (self.0 >> FITS) as u16
    }

    /// The same, and addresses or ports of the packet have to be written.
    #[inline(always)]
    pub const fn rewritten(self) -> Self {
        Self(self.0 | REWRITTEN)
    }

    /// Whether addresses or ports of the packet have to be written.
    #[inline(always)]
    pub const fn is_rewritten(self) -> bool {
        self.0 & REWRITTEN != 0
    }

    /// Whether the packet leaves through an interface that may have a queue.
    #[inline(always)]
    pub(crate) const fn is_for_a_queue(self) -> bool {
        matches!(self.0 >> KIND, QUEUE | UPLINK | ENCAPSULATE)
    }

    /// Why the packet is dropped; [`Reason::FORWARDED`] when it is not.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        if self.0 >> KIND >= DROP {
            Reason(self.0 as u8)
        } else {
            Reason::FORWARDED
        }
    }

    /// The decision in readable form.
    #[inline(always)]
    pub const fn action(self) -> Action {
        let number = self.0 as u32;
        match self.0 >> KIND {
            DELIVER => Action::Deliver { ifindex: number },
            QUEUE => Action::Queue { ifindex: number },
            UPLINK => Action::Uplink { ifindex: number },
            ENCAPSULATE => Action::Encapsulate { node: number },
            HAND_ON => Action::HandOn { node: number },
            DROP => Action::Drop(Reason(self.0 as u8)),
            REFUSE => Action::Refuse(Reason(self.0 as u8)),
            _ => Action::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_part() {
        assert_eq!(Verdict::PASS.action(), Action::Pass);
        let deliver = Verdict::deliver(u32::MAX).rewritten();
        assert_eq!(deliver.action(), Action::Deliver { ifindex: u32::MAX });
        assert!(deliver.is_rewritten());
        assert_eq!(Verdict::queue(9).action(), Action::Queue { ifindex: 9 });
        assert!(Verdict::queue(9).rewritten().is_for_a_queue() && !deliver.is_for_a_queue());
        assert_eq!(Verdict::uplink(7).action(), Action::Uplink { ifindex: 7 });
        let drop = Verdict::drop(Reason::NO_BACKEND);
        assert_eq!(drop.action(), Action::Drop(Reason::NO_BACKEND));
        assert_eq!(drop.reason(), Reason::NO_BACKEND);
        assert_eq!(Verdict::uplink(5).reason(), Reason::FORWARDED);
        let node = u32::from_ne_bytes([192, 0, 2, 255]);
        let encapsulate = Verdict::encapsulate(node).rewritten();
        assert_eq!(encapsulate.action(), Action::Encapsulate { node });
        assert_eq!(encapsulate.reason(), Reason::FORWARDED);
        let hand_on = Verdict::hand_on(node);
        assert_eq!(hand_on.action(), Action::HandOn { node });
        assert_eq!(hand_on.reason(), Reason::FORWARDED);
        let too_big = Verdict::too_big(u16::MAX);
        assert_eq!(too_big.action(), Action::Refuse(Reason::TOO_BIG));
        assert_eq!(
            (too_big.reason(), too_big.fits(), too_big.is_rewritten()),
            (Reason::TOO_BIG, u16::MAX, false)
        );
        let refuse = Verdict::refuse(Reason::NO_BACKEND);
        assert_eq!(refuse.action(), Action::Refuse(Reason::NO_BACKEND));
        assert_eq!(refuse.reason(), Reason::NO_BACKEND);
    }
}
