//! Facts of this node. Map [`crate::names::NODE_CONFIG`], an array of one.

use crate::{Addr, Port, abi};

/// [`NodeConfig::flags`]: send an event at the start and the end of every flow. The daemon sets it
/// while somebody watches; drops and verdicts are reported in any case.
pub const FLOW_EVENTS: u32 = 1 << 0;
/// [`NodeConfig::flags`]: a port of the node's own address may be a pod's (host port), so that
/// packets to any port are looked up.
pub const HOST_PORTS: u32 = 1 << 1;
/// [`NodeConfig::flags`]: TCP from outside for a backend on another node is handed on as it came,
/// and that node answers the client itself (direct server return).
pub const DIRECT_TCP: u32 = 1 << 2;
/// [`NodeConfig::flags`]: the same for UDP and SCTP.
pub const DIRECT_OTHERS: u32 = 1 << 3;
/// [`NodeConfig::flags`]: a service has an endpoint on this node's own network, and all that the
/// node sends passes a program. Without it packets to such an endpoint are dropped.
pub const OWN_NETWORK: u32 = 1 << 4;

abi! {
    /// Idle times in seconds after which an entry counts as absent.
    pub struct Timeouts = 24 {
        /// TCP before both sides were heard.
        pub tcp_opening: u32,
        /// TCP, established.
        pub tcp_established: u32,
        /// TCP after a FIN of both sides.
        pub tcp_closing: u32,
        /// TCP after a RST.
        pub tcp_reset: u32,
        /// UDP.
        pub udp: u32,
        /// ICMP echo.
        pub icmp: u32,
    }
}

impl Timeouts {
    /// The values that a node starts with.
    pub const DEFAULT: Self = Self {
        tcp_opening: 20,
        tcp_established: 3600,
        tcp_closing: 30,
        tcp_reset: 10,
        udp: 60,
        icmp: 5,
    };
}

abi! {
    /// What the node is in one address family.
    pub struct Family = 96 {
        /// Address of the node on its uplink; the source of masqueraded packets.
        pub node_addr: Addr,
        /// Ingress address (the first of the node's pod CIDR), on `lo`.
        pub ingress_addr: Addr,
        /// Pod gateway (169.254.1.1, fe80::1); the source of hairpin packets.
        pub gateway_addr: Addr,
        /// The node's pod CIDR.
        pub pod_net: Addr,
        /// The service CIDR.
        pub service_net: Addr,
        /// Prefix length of [`Self::pod_net`], IPv4 counted from 96.
        pub pod_prefix: u32,
        /// Prefix length of [`Self::service_net`], IPv4 counted from 96.
        pub service_prefix: u32,
        /// Interface index of the overlay's device for what is handed on; 0 when nothing is. With
        /// native routing it is there for that alone.
        pub hand_on_ifindex: u32,
        /// Zero.
        pub reserved: u32,
    }
}

impl Family {
    /// A family that the node does not have: no packet's address is in its networks.
    pub const NONE: Self = Self {
        node_addr: Addr::UNSPECIFIED,
        ingress_addr: Addr::UNSPECIFIED,
        gateway_addr: Addr::UNSPECIFIED,
        pod_net: Addr::UNSPECIFIED,
        service_net: Addr::UNSPECIFIED,
        pod_prefix: 128,
        service_prefix: 128,
        hand_on_ifindex: 0,
        reserved: 0,
    };

    /// Whether the node has this family.
    #[inline(always)]
    pub fn exists(&self) -> bool {
        self.node_addr != Addr::UNSPECIFIED
    }

    /// Whether an address belongs to the node's pod CIDR.
    #[inline(always)]
    pub const fn is_of_pods(&self, addr: &Addr) -> bool {
        addr.within(&self.pod_net, self.pod_prefix)
    }

    /// Whether an address belongs to the service CIDR.
    #[inline(always)]
    pub const fn is_of_services(&self, addr: &Addr) -> bool {
        addr.within(&self.service_net, self.service_prefix)
    }
}

abi! {
    /// The node as the programs see it.
    pub struct NodeConfig = 252 {
        /// Its IPv4 side.
        pub v4: Family,
        /// Its IPv6 side.
        pub v6: Family,
        /// Interface index of the uplink; 0 means that the node is not configured yet.
        pub uplink_ifindex: u32,
        /// [`FLOW_EVENTS`], [`HOST_PORTS`], [`DIRECT_TCP`], [`DIRECT_OTHERS`], [`OWN_NETWORK`].
        pub flags: u32,
        /// MAC address of the uplink.
        pub uplink_mac: [u8; 6],
        /// First node port, host order.
        pub node_port_first: u16,
        /// Last node port, host order.
        pub node_port_last: u16,
        /// First port for source translation, host order.
        pub snat_port_first: u16,
        /// Last port for source translation, host order.
        pub snat_port_last: u16,
        /// Flows opened in a window from which on it is a rush ([`crate::Pace::rush`]); 0 stands for
        /// [`crate::Pace::RUSH`].
        pub rush: u16,
        /// Idle times.
        pub timeouts: Timeouts,
        /// Grows with every change of endpoints or of these facts; what flows remember of an older
        /// epoch is looked up again. 0 means that nothing may be remembered.
        pub epoch: u32,
        /// Interface index of the overlay's device; 0 when routes lead to other nodes' pods
        /// (native routing).
        pub overlay_ifindex: u32,
        /// First port of a second, lower range for source translation, host order.
        pub snat_low_first: u16,
        /// How many ports the second range has; 0 when there is none.
        pub snat_low_ports: u16,
    }
}

impl NodeConfig {
    /// The node's side in the family of `addr`.
    #[inline(always)]
    pub const fn family(&self, addr: &Addr) -> &Family {
        if addr.is_v4() { &self.v4 } else { &self.v6 }
    }

    /// Whether packets of this protocol are handed on to the backend's node.
    #[inline(always)]
    pub const fn is_direct(&self, protocol: u8) -> bool {
        let flag = match protocol {
            crate::protocol::TCP => DIRECT_TCP,
            _ => DIRECT_OTHERS,
        };
        self.flags & flag != 0
    }

    /// Flows opened in a window from which on it is a rush.
    #[inline(always)]
    pub const fn rush(&self) -> u32 {
        match self.rush {
            0 => crate::Pace::RUSH,
            flows => flows as u32,
        }
    }

    /// Whether source translation may have chosen this port.
    #[inline(always)]
    pub const fn is_snat_port(&self, port: Port) -> bool {
        port.get().wrapping_sub(self.snat_low_first) < self.snat_low_ports
            || port.between(self.snat_port_first, self.snat_port_last)
    }

    /// How many ports source translation has for each address and port that it translates to.
    #[inline(always)]
    pub const fn snat_ports(&self) -> u32 {
        let high = self.snat_port_last.saturating_sub(self.snat_port_first) as u32 + 1;
        self.snat_low_ports as u32 + high
    }

    /// One of them, by a `number` below [`Self::snat_ports`].
    #[inline(always)]
    pub const fn snat_port(&self, number: u32) -> Port {
        let number = number as u16;
        Port::new(if number < self.snat_low_ports {
            self.snat_low_first.wrapping_add(number)
        } else {
            let number = number.wrapping_sub(self.snat_low_ports);
            self.snat_port_first.wrapping_add(number)
        })
    }

    /// Whether `addr` is the node's address on its uplink.
    #[inline(always)]
    pub fn is_node(&self, addr: &Addr) -> bool {
        self.family(addr).node_addr == *addr
    }

    /// The first node port of the default range.
    pub const NODE_PORT_FIRST: u16 = 30000;
    /// The last node port of the default range.
    pub const NODE_PORT_LAST: u16 = 32767;
    /// The first port for source translation.
    pub const SNAT_PORT_FIRST: u16 = 61000;
    /// The last port for source translation.
    pub const SNAT_PORT_LAST: u16 = 65535;
    /// The first port of the lower range for source translation: above the ports on which daemons of
    /// a node speak to their like, from and to the same one.
    pub const SNAT_LOW_FIRST: u16 = 11000;
    /// How many ports the lower range has: it ends where node ports begin.
    pub const SNAT_LOW_PORTS: u16 = Self::NODE_PORT_FIRST - Self::SNAT_LOW_FIRST;
}
