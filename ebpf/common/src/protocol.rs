//! IP protocol numbers and TCP flag bits that the data path knows (IANA, RFC 9293).

/// Wildcard of a policy key: any protocol.
pub const ANY: u8 = 0;
/// Internet Control Message Protocol.
pub const ICMP: u8 = 1;
/// Transmission Control Protocol.
pub const TCP: u8 = 6;
/// User Datagram Protocol.
pub const UDP: u8 = 17;
/// Internet Control Message Protocol for IPv6.
pub const ICMPV6: u8 = 58;

/// Stream Control Transmission Protocol.
pub const SCTP: u8 = 132;

/// Whether a protocol has ports, and so Services.
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

/// The sender has no more data.
pub const FIN: u8 = 0x01;
/// Opens a connection.
pub const SYN: u8 = 0x02;
/// Aborts a connection.
pub const RST: u8 = 0x04;
/// Acknowledges.
pub const ACK: u8 = 0x10;

/// A protocol's usual name, for people.
pub const fn name(protocol: u8) -> &'static str {
    match protocol {
        ANY => "any",
        ICMP => "ICMP",
        TCP => "TCP",
        UDP => "UDP",
        ICMPV6 => "ICMPv6",
        SCTP => "SCTP",
        _ => "other",
    }
}
