//! What is degraded on this node, and why: one sentence per component, gone when it is well.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Faults by component, such as `datapath` or `cluster-dns`.
#[derive(Debug, Default)]
pub struct Health {
    faults: Mutex<BTreeMap<&'static str, String>>,
    changed: watch::Sender<u64>,
}

impl Health {
    /// Records that `component` is well (`None`) or what is wrong with it.
    pub fn set(&self, component: &'static str, fault: Option<String>) {
        let mut faults = self.faults.lock();
        let before = match &fault {
            Some(text) => faults.insert(component, text.clone()),
            None => faults.remove(component),
        };
        if before != fault {
            match &fault {
                Some(fault) => tracing::warn!(component, fault, "degraded"),
                None => tracing::info!(component, "recovered"),
            }
            self.changed.send_modify(|generation| *generation += 1);
        }
    }

    /// Every present fault.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, String> {
        self.faults.lock().clone()
    }

    /// The fault of one component.
    #[must_use]
    pub fn fault(&self, component: &str) -> Option<String> {
        self.faults.lock().get(component).cloned()
    }

    /// A receiver that changes whenever a fault comes, changes or goes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_fault_is_no_news() {
        let health = Health::default();
        let mut news = health.subscribe();
        health.set("datapath", Some("no tcx".into()));
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        health.set("datapath", Some("no tcx".into()));
        assert!(!news.has_changed().unwrap());
        health.set("datapath", None);
        assert!(health.faults().is_empty());
    }
}
