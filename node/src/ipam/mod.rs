//! Pod addresses of this node.
//!
//! [`Pool`] decides and is pure; [`LeaseStore`] makes a decision durable before anyone hears of
//! it; [`Ipam`] joins them behind one lock. One lease is one file, keyed by sandbox and interface,
//! so that neither a crash between two steps nor a repeated call can give an address twice, and a
//! lease whose sandbox is gone is found by comparing file names with what lives.

mod lease;
mod pool;
mod store;

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use parking_lot::Mutex;

pub use lease::{Lease, LeaseKey, PodRef};
pub use pool::{Exhausted, Pool, first_address};
pub use store::{LeaseStore, StoreError};

/// Why an address could not be given or taken back.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// The node has no pod range yet.
    #[error("the node has no pod CIDR yet")]
    NoRange,
    /// Every address is taken.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The disk failed.
    #[error("address lease not durable")]
    Store(#[from] StoreError),
}

/// The node's address allocator.
#[derive(Debug)]
pub struct Ipam {
    store: LeaseStore,
    pool: Mutex<Pool>,
}

impl Ipam {
    /// Opens the leases under `dir`, creating it when absent.
    ///
    /// # Errors
    /// When the directory cannot be made or read. A torn file of an interrupted write is removed.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let store = LeaseStore::open(dir)?;
        let pool = Pool::new(store.load()?);
        Ok(Self {
            store,
            pool: Mutex::new(pool),
        })
    }

    /// Sets the ranges to allocate from, one of each family. Leases outside a changed range stay
    /// until they are freed.
    pub fn set_ranges(&self, ranges: &[IpNet]) {
        self.pool.lock().set_ranges(ranges);
    }

    /// The ranges, once they are known.
    pub fn ranges(&self) -> Vec<IpNet> {
        self.pool.lock().ranges()
    }

    /// Gives an address of each range to an attachment, durably; the lease that it already has, if
    /// any. `now` is seconds since the epoch.
    ///
    /// # Errors
    /// No range yet, no free address, or the disk failed; the addresses are free again then.
    pub fn allocate(
        &self,
        key: &LeaseKey,
        now: u64,
        lease: impl FnOnce(Vec<IpAddr>) -> Lease,
    ) -> Result<Lease, IpamError> {
        let mut pool = self.pool.lock();
        if let Some(lease) = pool.get(key) {
            return Ok(lease.clone());
        }
        let addresses = pool.pick(now)?;
        if addresses.is_empty() {
            return Err(IpamError::NoRange);
        }
        let lease = lease(addresses);
        // Under the lock: two calls must not choose the same address between decision and disk.
        self.store.save(&lease)?;
        pool.insert(lease.clone());
        Ok(lease)
    }

    /// Takes an address back; `None` if the attachment has none.
    ///
    /// # Errors
    /// When the file cannot be removed; the lease stays.
    pub fn free(&self, key: &LeaseKey, now: u64) -> Result<Option<Lease>, StoreError> {
        let mut pool = self.pool.lock();
        if pool.get(key).is_none() {
            return Ok(None);
        }
        self.store.remove(key)?;
        Ok(pool.remove(key, now))
    }

    /// One lease.
    pub fn get(&self, key: &LeaseKey) -> Option<Lease> {
        self.pool.lock().get(key).cloned()
    }

    /// Every lease, sorted by key.
    pub fn leases(&self) -> Vec<Lease> {
        self.pool.lock().leases().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> LeaseKey {
        LeaseKey {
            sandbox: name.into(),
            ifname: "eth0".into(),
        }
    }

    fn allocate(ipam: &Ipam, name: &str) -> Result<Lease, IpamError> {
        let key = key(name);
        ipam.allocate(&key, 0, |addresses| Lease::for_test(&key, &addresses))
    }

    #[test]
    fn leases_survive_a_restart_without_leak_or_duplicate() {
        let dir = tempdir();
        let first = {
            let ipam = Ipam::open(dir.clone()).unwrap();
            ipam.set_ranges(&["10.244.0.0/29".parse().unwrap()]);
            allocate(&ipam, "a").unwrap().addresses
        };
        // What a kill in the middle of a write leaves behind.
        std::fs::write(dir.join("b,eth0.json.tmp"), b"{\"torn").unwrap();
        let ipam = Ipam::open(dir.clone()).unwrap();
        ipam.set_ranges(&["10.244.0.0/29".parse().unwrap()]);
        assert_eq!(allocate(&ipam, "a").unwrap().addresses, first);
        assert_ne!(allocate(&ipam, "b").unwrap().addresses, first);
        assert_eq!(ipam.leases().len(), 2);
        assert!(!dir.join("b,eth0.json.tmp").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_node_without_a_range_says_so_and_freeing_twice_is_harmless() {
        let dir = tempdir();
        let ipam = Ipam::open(dir.clone()).unwrap();
        assert!(matches!(allocate(&ipam, "a"), Err(IpamError::NoRange)));
        ipam.set_ranges(&["10.244.0.0/30".parse().unwrap()]);
        allocate(&ipam, "a").unwrap();
        assert!(matches!(allocate(&ipam, "b"), Err(IpamError::Exhausted(_))));
        assert!(ipam.free(&key("a"), 1).unwrap().is_some());
        assert!(ipam.free(&key("a"), 1).unwrap().is_none());
        allocate(&ipam, "b").unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempdir() -> PathBuf {
        let unique = uuid::Uuid::new_v4();
        std::env::temp_dir().join(format!("naru-ipam-{unique}"))
    }
}
