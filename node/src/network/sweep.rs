//! Expired flows leave the tables.

use std::sync::Arc;
use std::time::Duration;

use naru_ebpf_common::Addr;
use naru_ebpf_logic::{conntrack, nat};

use super::{Network, chain};
use crate::PartResult;
use crate::datapath::monotonic_ns;

/// Tables are LRU: a late sweep costs room, never correctness.
const PERIOD: Duration = Duration::from_secs(30);

pub(super) async fn run(network: Arc<Network>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let swept = {
            let network = Arc::clone(&network);
            tokio::task::spawn_blocking(move || network.sweep(monotonic_ns())).await
        };
        let fault = match swept {
            Ok(outcome) => outcome.err().map(|error| chain(error.as_ref())),
            Err(panic) => Some(panic.to_string()),
        };
        network.health.set("sweep", fault);
    }
}

impl Network {
    /// Deletes the entries that the data path takes for absent already. An entry that was used since
    /// it was read stays: it is read once more before it goes.
    fn sweep(&self, now: u64) -> PartResult {
        let timeouts = self.datapath.node_config()?.timeouts;
        let (flows, nat) = (&self.datapath.conntrack, &self.datapath.nat);
        let mut swept = 0;
        for (key, entry) in flows.entries()? {
            let stale = conntrack::is_stale(&entry, key.protocol, &timeouts, now);
            if stale
                && flows
                    .get(&key)?
                    .is_some_and(|again| again.seen_ns == entry.seen_ns)
            {
                flows.delete(&key)?;
                swept += 1;
            }
        }
        for (key, entry) in nat.entries()? {
            let stale = nat::is_stale(&entry, key.protocol, &timeouts, now);
            if stale
                && nat
                    .get(&key)?
                    .is_some_and(|again| again.seen_ns == entry.seen_ns)
            {
                nat.delete(&key)?;
                swept += 1;
            }
        }
        if swept > 0 {
            tracing::debug!(swept, "expired flows");
        }
        Ok(())
    }

    /// Forgets every flow and translation of an address, so that its next owner starts clean.
    pub(super) fn forget_flows(&self, addr: Addr) -> PartResult {
        for (tuple, _) in self.datapath.conntrack.entries()? {
            if tuple.addr.contains(&addr) {
                self.datapath.conntrack.delete(&tuple)?;
            }
        }
        for (key, entry) in self.datapath.nat.entries()? {
            if [key.src, key.dst, entry.src, entry.dst].contains(&addr) {
                self.datapath.nat.delete(&key)?;
            }
        }
        Ok(())
    }
}
