//! The endpoints behind a route, and the choice among them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashMap;
use http::uri::Authority;

/// One address that serves requests, shared by every route and every generation of the table, so
/// that its load stays known when the table changes.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    authority: Authority,
    open: AtomicUsize,
}

impl Endpoint {
    fn new(address: SocketAddr) -> Option<Arc<Self>> {
        let authority = Authority::try_from(address.to_string()).ok()?;
        let open = AtomicUsize::new(0);
        Some(Arc::new(Self {
            address,
            authority,
            open,
        }))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the authority of a URI.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Requests that it is serving now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Load {
        self.open.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(self))
    }
}

/// A request in progress at an endpoint.
#[derive(Debug)]
pub struct Load(Arc<Endpoint>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every endpoint in use, one object per address.
#[derive(Debug, Default)]
pub struct Endpoints(HashMap<SocketAddr, Arc<Endpoint>>);

impl Endpoints {
    /// The endpoint of this address.
    pub fn get(&mut self, address: SocketAddr) -> Option<Arc<Endpoint>> {
        if let Some(known) = self.0.get(&address) {
            return Some(Arc::clone(known));
        }
        let endpoint = Endpoint::new(address)?;
        self.0.insert(address, Arc::clone(&endpoint));
        Some(endpoint)
    }

    /// Forgets endpoints that neither a table nor a request holds.
    pub fn sweep(&mut self) {
        self.0.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
    }
}

/// What a route leads to.
#[derive(Debug)]
pub struct Backend {
    name: Box<str>,
    endpoints: Vec<Arc<Endpoint>>,
    next: AtomicUsize,
}

impl Backend {
    /// A backend called `name` in logs and error pages.
    pub fn new(name: &str, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self {
            name: name.into(),
            endpoints,
            next: AtomicUsize::new(0),
        }
    }

    /// `namespace/service:port`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint with the fewest open requests, in turn among equals; another than `not`, if
    /// there is one.
    pub fn pick(&self, not: Option<&Arc<Endpoint>>) -> Option<&Arc<Endpoint>> {
        let count = self.endpoints.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..count).map(|step| &self.endpoints[first.wrapping_add(step) % count]);
        let is_other = |endpoint: &&Arc<Endpoint>| {
            count == 1 || not.is_none_or(|not| !Arc::ptr_eq(not, endpoint))
        };
        // `min_by_key` returns the first of several minima.
        in_turn
            .filter(is_other)
            .min_by_key(|endpoint| endpoint.open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(ports: &[u16]) -> Backend {
        let mut all = Endpoints::default();
        let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        let endpoints = ports.iter().filter_map(|port| all.get(address(port)));
        Backend::new("test", endpoints.collect())
    }

    #[test]
    fn equals_take_turns() {
        let backend = backend(&[1, 2, 3]);
        let ports: Vec<u16> = (0..6)
            .map(|_| backend.pick(None).unwrap().address().port())
            .collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_least_loaded_is_picked() {
        let backend = backend(&[1, 2]);
        let held = backend.endpoints()[0].enter();
        for _ in 0..4 {
            assert_eq!(backend.pick(None).unwrap().address().port(), 2);
        }
        drop(held);
        assert_eq!(backend.endpoints()[0].open(), 0);
    }

    #[test]
    fn a_retry_goes_elsewhere_when_it_can() {
        let two = backend(&[1, 2]);
        let first = two.pick(None).unwrap();
        assert!(!Arc::ptr_eq(first, two.pick(Some(first)).unwrap()));
        let one = backend(&[1]);
        let only = one.pick(None).unwrap();
        assert!(one.pick(Some(only)).is_some());
        assert!(backend(&[]).pick(None).is_none());
    }

    #[test]
    fn unused_endpoints_are_forgotten() {
        let mut all = Endpoints::default();
        let kept = all.get("127.0.0.1:1".parse().unwrap());
        all.get("127.0.0.1:2".parse().unwrap());
        all.sweep();
        assert_eq!(all.0.len(), 1);
        drop(kept);
        all.sweep();
        assert!(all.0.is_empty());
    }
}
