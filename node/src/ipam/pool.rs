//! Which address is next: a pure decision with time as an argument.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::lease::{Lease, LeaseKey};

/// Seconds for which a freed address is left alone while others are free: peers may still hold
/// connections to its last owner.
const REST: u64 = 60;

/// No address of the range is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no free address in the pod CIDR {range}: all {leases} are in use")]
pub struct Exhausted {
    /// The range.
    pub range: Ipv4Net,
    /// Leases that exist.
    pub leases: usize,
}

/// Leases and the range that they come from.
#[derive(Debug)]
pub struct Pool {
    range: Option<Ipv4Net>,
    leases: BTreeMap<LeaseKey, Lease>,
    taken: HashSet<Ipv4Addr>,
    freed: HashMap<Ipv4Addr, u64>,
    last: Option<Ipv4Addr>,
}

impl Pool {
    /// A pool with the leases of an earlier life; rotation goes on after the youngest of them.
    pub fn new(leases: Vec<Lease>) -> Self {
        let last = leases
            .iter()
            .max_by_key(|lease| (lease.since, lease.address))
            .map(|l| l.address);
        let taken = leases.iter().map(|lease| lease.address).collect();
        let leases = leases
            .into_iter()
            .map(|lease| (lease.key.clone(), lease))
            .collect();
        Self {
            range: None,
            leases,
            taken,
            freed: HashMap::new(),
            last,
        }
    }

    /// Sets the range.
    pub fn set_range(&mut self, range: Ipv4Net) {
        self.range = Some(range.trunc());
    }

    /// The range.
    pub fn range(&self) -> Option<Ipv4Net> {
        self.range
    }

    /// One lease.
    pub fn get(&self, key: &LeaseKey) -> Option<&Lease> {
        self.leases.get(key)
    }

    /// Every lease.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The address to give next at `now` (seconds since the epoch): the one after the last given,
    /// passing over addresses freed within the last minute while others are free. `None` without a
    /// range. The network address, `.1` (the ingress address) and the broadcast address are never
    /// given.
    ///
    /// # Errors
    /// When nothing is free.
    pub fn pick(&self, now: u64) -> Result<Option<Ipv4Addr>, Exhausted> {
        let Some(range) = self.range else {
            return Ok(None);
        };
        let (first, end) = (u32::from(range.network()) + 2, u32::from(range.broadcast()));
        let start = match self.last.map(u32::from) {
            Some(last) if last >= first && last + 1 < end => last + 1,
            _ => first,
        };
        let free = |address: &Ipv4Addr| !self.taken.contains(address);
        let candidates = || {
            (start..end)
                .chain(first..start)
                .map(Ipv4Addr::from)
                .filter(free)
        };
        let rested = |address: &Ipv4Addr| self.freed.get(address).is_none_or(|at| now >= at + REST);
        // With every free address resting, the one that rests longest.
        let picked = candidates()
            .find(rested)
            .or_else(|| candidates().min_by_key(|address| self.freed.get(address).copied()));
        picked.map(Some).ok_or(Exhausted {
            range,
            leases: self.leases.len(),
        })
    }

    /// Records a lease.
    pub fn insert(&mut self, lease: Lease) {
        self.taken.insert(lease.address);
        self.freed.remove(&lease.address);
        self.last = Some(lease.address);
        self.leases.insert(lease.key.clone(), lease);
    }

    /// Forgets a lease.
    pub fn remove(&mut self, key: &LeaseKey, now: u64) -> Option<Lease> {
        let lease = self.leases.remove(key)?;
        self.taken.remove(&lease.address);
        self.freed.retain(|_, at| now < *at + REST);
        self.freed.insert(lease.address, now);
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(range: &str) -> Pool {
        let mut pool = Pool::new(Vec::new());
        pool.set_range(range.parse().unwrap());
        pool
    }

    fn give(pool: &mut Pool, name: &str, now: u64) -> Ipv4Addr {
        let key = LeaseKey {
            sandbox: name.into(),
            ifname: "eth0".into(),
        };
        let address = pool.pick(now).unwrap().unwrap();
        pool.insert(Lease {
            since: now,
            ..Lease::for_test(&key, address)
        });
        address
    }

    fn take(pool: &mut Pool, name: &str, now: u64) {
        pool.remove(
            &LeaseKey {
                sandbox: name.into(),
                ifname: "eth0".into(),
            },
            now,
        )
        .unwrap();
    }

    #[test]
    fn a_24_holds_253_pods_between_2_and_254() {
        let mut pool = pool("10.244.3.0/24");
        for n in 2..=254 {
            assert_eq!(
                give(&mut pool, &n.to_string(), 0),
                Ipv4Addr::new(10, 244, 3, n)
            );
        }
        let exhausted = pool.pick(0).unwrap_err();
        assert!(exhausted.to_string().contains("10.244.3.0/24"));
    }

    #[test]
    fn a_freed_address_rests_while_others_are_free() {
        let mut pool = pool("10.244.0.0/29");
        let first = give(&mut pool, "a", 0);
        take(&mut pool, "a", 1);
        for name in ["b", "c", "d", "e"] {
            assert_ne!(give(&mut pool, name, 2), first);
        }
        // It is the only one left: resting or not, it serves.
        assert_eq!(give(&mut pool, "f", 3), first);
    }

    #[test]
    fn rotation_goes_on_after_a_restart() {
        let mut before = pool("10.244.0.0/24");
        give(&mut before, "a", 5);
        give(&mut before, "b", 6);
        let mut after = Pool::new(before.leases().cloned().collect());
        after.set_range("10.244.0.0/24".parse().unwrap());
        assert_eq!(give(&mut after, "c", 7), Ipv4Addr::new(10, 244, 0, 4));
    }
}
