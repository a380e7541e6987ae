//! Why a packet was dropped. Numbers are permanent: a retired one stays reserved.

/// A drop reason, or [`Reason::FORWARDED`]. It lives in maps and events as one byte.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Reason(pub u8);

macro_rules! reasons {
    ($($number:literal $name:ident $text:literal $help:literal;)*) => {
        impl Reason {
            $(#[doc = $help] pub const $name: Self = Self($number);)*

            /// Every reason, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Short name for metrics and `netctl drops`; "unknown" for a number never given.
            pub const fn name(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "unknown" }
            }

            /// One sentence for people.
            pub const fn help(self) -> &'static str {
                match self.0 { $($number => $help,)* _ => "A reason of a newer release." }
            }
        }
    };
}

reasons! {
    0 FORWARDED "forwarded" "Not dropped.";
    1 MALFORMED "malformed" "A header is cut short or contradicts itself.";
    2 NOT_IP "not-ip" "Neither IPv4 nor IPv6; pods need no ARP.";
    3 IPV6_UNSUPPORTED "ipv6-unsupported" "The node has no IPv6 address: its pods speak IPv4 only.";
    4 PROTOCOL_UNSUPPORTED "protocol-unsupported" "Neither TCP, UDP, SCTP nor ICMP echo or error, or too many IPv6 extension headers.";
    5 FRAGMENT "fragment" "An IP fragment whose first part, which has the ports, was not seen before it.";
    6 MULTICAST "multicast" "Multicast or broadcast from a pod.";
    7 SPOOFED_SOURCE "spoofed-source" "The source is not the address of the pod that sent it.";
    8 POLICY_EGRESS "policy-egress" "The pod is isolated for egress and no rule allows the flow.";
    9 POLICY_INGRESS "policy-ingress" "The pod is isolated for ingress and no rule allows the flow.";
    10 POLICY_EGRESS_DENIED "policy-egress-denied" "A rule denies the flow out of the pod.";
    11 POLICY_INGRESS_DENIED "policy-ingress-denied" "A rule denies the flow into the pod.";
    12 NO_SERVICE "no-service" "An address or port of the service range that no service has.";
    13 NO_BACKEND "no-backend" "The service has no ready endpoint.";
    14 SNAT_EXHAUSTED "snat-exhausted" "No free source port for translation was found.";
    15 NO_ENDPOINT "no-endpoint" "An address of this node's pod range that no pod has.";
    16 MAP_FULL "map-full" "A map had no room for the flow.";
    17 NOT_CONFIGURED "not-configured" "The daemon has not configured the node yet.";
    18 ICMP_UNRELATED "icmp-unrelated" "An ICMP error about a flow that is not known.";
    19 REWRITE_FAILED "rewrite-failed" "The kernel refused to change the packet.";
    20 SPOOFED_NETWORK "spoofed-network" "An address of this node arrived from the network.";
    21 NAT_LOST "nat-lost" "The translation of a flow is gone; the flow must be opened anew.";
    22 NO_LOCAL_BACKEND "no-local-backend" "The traffic policy asks for an endpoint of this node, and it has none.";
    23 SOURCE_RANGE "source-range" "The load balancer's source ranges do not hold the client.";
    24 HOST_BACKEND "host-backend" "The endpoint is on this node's own network, and what the node sends does not pass the data path yet.";
    25 NO_TUNNEL_ENDPOINT "no-tunnel-endpoint" "The address lives on a node that the overlay cannot reach: its IPv4 address is not known.";
    26 SPOOFED_OVERLAY "spoofed-overlay" "The overlay brought a packet whose source does not live on the node that sent it, or one of another network identifier.";
    27 BANDWIDTH "bandwidth" "The pod's bandwidth limit would keep the packet waiting for more than two seconds.";
    28 TOO_BIG "too-big" "Handed on to its endpoint's node, the packet would be larger than the network between nodes carries, and it may not be cut: its sender is told what fits.";
}

impl Reason {
    /// Whether a policy caused the drop.
    pub const fn is_policy(self) -> bool {
        matches!(
            self,
            Self::POLICY_EGRESS
                | Self::POLICY_INGRESS
                | Self::POLICY_EGRESS_DENIED
                | Self::POLICY_INGRESS_DENIED
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter;

    #[test]
    fn numbers_are_dense_unique_and_have_room() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(usize::from(reason.0), i);
            assert!(u32::from(reason.0) < counter::REASONS);
            let same = Reason::ALL.iter().filter(|r| r.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
    }

    #[test]
    fn counters_of_two_hooks_do_not_overlap() {
        let last = Reason(63);
        assert!(
            counter::index(counter::FROM_POD, last) < counter::index(counter::TO_POD, Reason(0))
        );
        assert!(counter::index(counter::FROM_OVERLAY, last) < counter::HOOKS * counter::REASONS);
    }
}
