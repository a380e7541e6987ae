//! What other servers on the same store have given away.
//!
//! Before a reservation the table catches up with the stored Services; the write that follows is
//! guarded by the revision to which it did, so that two servers never give the same address away: the
//! one that comes second is told, catches up and chooses again.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::MutexGuard;

use super::{Addresses, Port, Taken, ips, ports};
use crate::store::{Event, EventType, Guard, Resource, Store, Watcher};

/// Under which addresses are given away.
const GUARD: &str = "addresses";

/// What this server has seen of the stored Services.
#[derive(Default)]
pub(super) struct Others {
    /// Whoever reserves; one after the other, since each would overtake the next.
    turn: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    watcher: Option<Watcher>,
    /// What each Service had when it was seen last.
    held: HashMap<String, (Vec<IpAddr>, Vec<Port>)>,
}

impl Addresses {
    /// The right to reserve, among the requests of this server.
    pub(in crate::api) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.others.turn.lock().await
    }

    /// Learns what the stored Services have, and returns the guard of a write that is decided from it.
    pub(in crate::api) fn catch_up(&self, store: &Store, services: Resource) -> Guard {
        let mut seen = self.others.seen.lock();
        let mut taken = self.taken.lock();
        loop {
            let Some(watcher) = seen.watcher.as_mut() else {
                let (snapshot, watcher) = store.snapshot_and_watch(services);
                let all = snapshot.objects.iter();
                let all = all.map(|(key, service)| (key.to_string(), Some(service.value())));
                let gone = seen
                    .held
                    .keys()
                    .filter(|key| !snapshot.objects.contains_key(key));
                let gone: Vec<_> = gone.map(|key| (key.clone(), None)).collect();
                for (owner, service) in gone.into_iter().chain(all) {
                    seen.learn(&mut taken, &owner, service.as_ref());
                }
                seen.watcher = Some(watcher);
                return guard(snapshot.revision);
            };
            match watcher.poll() {
                Ok((events, complete)) => {
                    for event in &events {
                        let key = event.object.key();
                        seen.learn(&mut taken, key, stored(event).as_ref());
                    }
                    if let Some(revision) = complete {
                        return guard(revision);
                    }
                }
                Err(_) => seen.watcher = None,
            }
        }
    }
}

fn guard(seen: u64) -> Guard {
    Guard { name: GUARD, seen }
}

/// The Service after an event; none when it is gone.
fn stored(event: &Event) -> Option<Value> {
    (event.event != EventType::Deleted).then(|| event.object.value())
}

impl Seen {
    /// A Service has these addresses now, and no others.
    fn learn(&mut self, taken: &mut Taken, owner: &str, service: Option<&Value>) {
        let (ips, ports) = service.map(|it| (ips(it), ports(it))).unwrap_or_default();
        let (old_ips, old_ports) = self.held.remove(owner).unwrap_or_default();
        for ip in old_ips.iter().filter(|ip| !ips.contains(ip)) {
            if taken.ips.get(ip).is_some_and(|have| have == owner) {
                taken.ips.remove(ip);
            }
        }
        for port in old_ports.iter().filter(|port| !ports.contains(port)) {
            if taken.ports.get(port).is_some_and(|have| have == owner) {
                taken.ports.remove(port);
            }
        }
        for ip in &ips {
            taken.ips.insert(*ip, owner.to_owned());
        }
        for port in &ports {
            taken.ports.insert(port.clone(), owner.to_owned());
        }
        if service.is_some() {
            self.held.insert(owner.to_owned(), (ips, ports));
        }
    }
}
