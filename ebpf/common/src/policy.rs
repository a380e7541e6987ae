//! Policy entries. Map [`crate::names::POLICY`].
//!
//! Precedence, first hit decides (see [`lookup_order`]):
//!
//! | # | identity | protocol | port |
//! |---|---|---|---|
//! | 1 | exact | exact | exact |
//! | 2 | exact | exact | any |
//! | 3 | exact | any | any |
//! | 4 | any | exact | exact |
//! | 5 | any | exact | any |
//! | 6 | any | any | any |
//!
//! An entry with any protocol has any port. Without a hit an isolated endpoint denies.

use crate::{Port, abi, ipcache, protocol};

/// Direction: into the endpoint.
pub const INGRESS: u8 = 0;
/// Direction: out of the endpoint.
pub const EGRESS: u8 = 1;

/// Verdict: the flow may pass.
pub const ALLOW: u32 = 1;
/// Verdict: the flow is dropped, whatever a less exact entry says.
pub const DENY: u32 = 2;

abi! {
    /// Which flows an entry is about.
    pub struct PolicyKey = 12 {
        /// [`crate::Endpoint::id`] of the local pod.
        pub endpoint: u32,
        /// Identity of the other end; [`ipcache::IDENTITY_ANY`] matches all.
        pub identity: u32,
        /// Port that the flow is opened to; [`Port::ANY`] matches all. ICMP has port 0.
        pub port: Port,
        /// IP protocol; [`protocol::ANY`] matches all.
        pub protocol: u8,
        /// [`INGRESS`] or [`EGRESS`], seen from the endpoint.
        pub direction: u8,
    }
}

abi! {
    /// What an entry says.
    pub struct PolicyEntry = 8 {
        /// [`ALLOW`] or [`DENY`].
        pub verdict: u32,
        /// Number of the rule that it comes from; the daemon knows its policy's name. 0 says what holds
        /// where no rule decides: nothing is denied, or the policies that isolate the pod allow nothing.
        pub rule: u32,
    }
}

/// How many keys [`lookup_order`] yields.
pub const LOOKUPS: usize = 6;

/// The key to look up in step `step` (0 to 5) of the precedence for the exact key `exact`.
#[inline(always)]
pub const fn lookup_order(exact: PolicyKey, step: usize) -> PolicyKey {
    let mut key = exact;
    if step >= 3 {
        key.identity = ipcache::IDENTITY_ANY;
    }
    if step % 3 >= 1 {
        key.port = Port::ANY;
    }
    if step % 3 == 2 {
        key.protocol = protocol::ANY;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_goes_from_the_exact_key_to_the_wildcard() {
        let exact = PolicyKey {
            endpoint: 7,
            identity: 300,
            port: Port::new(80),
            protocol: 6,
            direction: 1,
        };
        let steps: Vec<_> = (0..LOOKUPS)
            .map(|s| lookup_order(exact, s))
            .map(|k| (k.identity, k.protocol, k.port.get()))
            .collect();
        assert_eq!(
            steps,
            [
                (300, 6, 80),
                (300, 6, 0),
                (300, 0, 0),
                (0, 6, 80),
                (0, 6, 0),
                (0, 0, 0)
            ]
        );
    }
}
