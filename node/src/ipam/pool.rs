//! Which addresses are next: a pure decision with time as an argument.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::lease::{Lease, LeaseKey};

/// Seconds for which a freed address is left alone while others are free: peers may still hold
/// connections to its last owner.
const REST: u64 = 60;
/// Addresses of a range that are used, at most: an IPv6 range holds more than any node has pods.
const USED: u128 = 1 << 16;

/// No address of a range is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no free address in the pod CIDR {range}: all {leases} are in use")]
pub struct Exhausted {
    /// The range.
    pub range: IpNet,
    /// Leases that exist.
    pub leases: usize,
}

/// Leases and the ranges that they come from.
#[derive(Debug)]
pub struct Pool {
    ranges: Vec<IpNet>,
    leases: BTreeMap<LeaseKey, Lease>,
    taken: HashSet<IpAddr>,
    freed: HashMap<IpAddr, u64>,
    /// The addresses given last.
    last: Vec<IpAddr>,
}

impl Pool {
    /// A pool with the leases of an earlier life; rotation goes on after the youngest of them.
    pub fn new(leases: Vec<Lease>) -> Self {
        let last = leases
            .iter()
            .max_by_key(|lease| (lease.since, &lease.addresses))
            .map(|lease| lease.addresses.clone());
        let taken = leases.iter().flat_map(|lease| lease.addresses.clone());
        let taken = taken.collect();
        let leases = leases
            .into_iter()
            .map(|lease| (lease.key.clone(), lease))
            .collect();
        Self {
            ranges: Vec::new(),
            leases,
            taken,
            freed: HashMap::new(),
            last: last.unwrap_or_default(),
        }
    }

    /// Sets the ranges.
    pub fn set_ranges(&mut self, ranges: &[IpNet]) {
        self.ranges = ranges.iter().map(IpNet::trunc).collect();
    }

    /// The ranges.
    pub fn ranges(&self) -> Vec<IpNet> {
        self.ranges.clone()
    }

    /// One lease.
    pub fn get(&self, key: &LeaseKey) -> Option<&Lease> {
        self.leases.get(key)
    }

    /// Every lease.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The addresses to give next at `now` (seconds since the epoch), one of each range: the one
    /// after the last given, passing over addresses freed within the last minute while others are
    /// free. None without a range. The network address, the one after it (the ingress address) and
    /// the last (the broadcast address) are never given.
    ///
    /// # Errors
    /// When nothing is free in a range.
    pub fn pick(&self, now: u64) -> Result<Vec<IpAddr>, Exhausted> {
        let ranges = self.ranges.iter();
        ranges.map(|range| self.pick_of(range, now)).collect()
    }

    fn pick_of(&self, range: &IpNet, now: u64) -> Result<IpAddr, Exhausted> {
        let (first, end) = (2, last_offset(range).min(USED));
        let last = self.last.iter().find_map(|last| offset(range, *last));
        let start = match last {
            Some(last) if last >= first && last + 1 < end => last + 1,
            _ => first,
        };
        let candidates = || {
            let around = (start..end).chain(first..start);
            let addresses = around.map(|offset| nth(range, offset));
            addresses.filter(|address| !self.taken.contains(address))
        };
        let rested = |address: &IpAddr| self.freed.get(address).is_none_or(|at| now >= at + REST);
        // With every free address resting, the one that rests longest.
        let picked = candidates()
            .find(rested)
            .or_else(|| candidates().min_by_key(|address| self.freed.get(address).copied()));
        picked.ok_or(Exhausted {
            range: *range,
            leases: self.leases.len(),
        })
    }

    /// Records a lease.
    pub fn insert(&mut self, lease: Lease) {
        for address in &lease.addresses {
            self.taken.insert(*address);
            self.freed.remove(address);
        }
        self.last.clone_from(&lease.addresses);
        self.leases.insert(lease.key.clone(), lease);
    }

    /// Forgets a lease.
    pub fn remove(&mut self, key: &LeaseKey, now: u64) -> Option<Lease> {
        let lease = self.leases.remove(key)?;
        self.freed.retain(|_, at| now < *at + REST);
        for address in &lease.addresses {
            self.taken.remove(address);
            self.freed.insert(*address, now);
        }
        Some(lease)
    }
}

/// The first address of a pod range: that of the node's ingress proxy.
#[must_use]
pub fn first_address(range: &IpNet) -> IpAddr {
    nth(range, 1)
}

fn nth(range: &IpNet, offset: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(offset as u32)).into(),
        IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(offset)).into(),
    }
}

fn offset(range: &IpNet, address: IpAddr) -> Option<u128> {
    match (range.network(), address) {
        _ if !range.contains(&address) => None,
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            Some((u32::from(address) - u32::from(base)).into())
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => Some(u128::from(address) - u128::from(base)),
        _ => None,
    }
}

fn last_offset(range: &IpNet) -> u128 {
    let hosts = u32::from(range.max_prefix_len() - range.prefix_len());
    1_u128.checked_shl(hosts).map_or(u128::MAX, |size| size - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ranges: &[&str]) -> Pool {
        let mut pool = Pool::new(Vec::new());
        pool.set_ranges(&nets(ranges));
        pool
    }

    fn nets(ranges: &[&str]) -> Vec<IpNet> {
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    fn key(name: &str) -> LeaseKey {
        LeaseKey {
            sandbox: name.into(),
            ifname: "eth0".into(),
        }
    }

    fn give(pool: &mut Pool, name: &str, now: u64) -> String {
        let lease = Lease {
            since: now,
            ..Lease::for_test(&key(name), &pool.pick(now).unwrap())
        };
        pool.insert(lease.clone());
        lease.address_text()
    }

    fn take(pool: &mut Pool, name: &str, now: u64) {
        pool.remove(&key(name), now).unwrap();
    }

    #[test]
    fn a_24_holds_253_pods_between_2_and_254() {
        let mut pool = pool(&["10.244.3.0/24"]);
        for n in 2..=254 {
            assert_eq!(give(&mut pool, &n.to_string(), 0), format!("10.244.3.{n}"));
        }
        let exhausted = pool.pick(0).unwrap_err();
        assert!(exhausted.to_string().contains("10.244.3.0/24"));
    }

    #[test]
    fn a_freed_address_rests_while_others_are_free() {
        for range in ["10.244.0.0/29", "fd00::/125"] {
            let mut pool = pool(&[range]);
            let first = give(&mut pool, "a", 0);
            take(&mut pool, "a", 1);
            for name in ["b", "c", "d", "e"] {
                assert_ne!(give(&mut pool, name, 2), first);
            }
            // It is the only one left: resting or not, it serves.
            assert_eq!(give(&mut pool, "f", 3), first);
        }
    }

    #[test]
    fn rotation_goes_on_after_a_restart() {
        let ranges = ["10.244.0.0/24", "fd00:10:244::/64"];
        let mut before = pool(&ranges);
        give(&mut before, "a", 5);
        assert_eq!(give(&mut before, "b", 6), "10.244.0.3,fd00:10:244::3");
        let mut after = Pool::new(before.leases().cloned().collect());
        after.set_ranges(&nets(&ranges));
        assert_eq!(give(&mut after, "c", 7), "10.244.0.4,fd00:10:244::4");
    }

    #[test]
    fn a_range_that_comes_later_is_used_from_then_on() {
        let mut pool = pool(&["10.244.0.0/24"]);
        assert_eq!(give(&mut pool, "a", 0), "10.244.0.2");
        pool.set_ranges(&nets(&["10.244.0.0/24", "fd00::/64"]));
        assert_eq!(give(&mut pool, "b", 0), "10.244.0.3,fd00::2");
        assert_eq!(
            first_address(&nets(&["fd00::/64"])[0]).to_string(),
            "fd00::1"
        );
    }
}
