//! Expired flows leave the tables, and tables that are too small for the others become larger.
//!
//! Nothing tells how full a table is but reading it. So between two sweeps the flows that were opened
//! are added to what the last one found; when that may be too much, the next sweep comes at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use naru_ebpf_common::Addr;
use naru_ebpf_logic::{conntrack, nat};

use super::room::Held;
use super::{Network, chain};
use crate::PartResult;
use crate::datapath::monotonic_ns;

/// Tables are LRU: a late sweep costs room, never correctness.
const PERIOD: Duration = Duration::from_secs(30);
/// How often the flows that were opened are counted. A table that is three quarters full of
/// established flows is made larger before the last quarter is used up, if fewer come in this time.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(network: Arc<Network>) {
    let mut last = Sweep::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let outcome = network.look_at_flows(&mut last).await;
        let fault = outcome.err().map(|error| chain(error.as_ref()));
        network.health.set("flow-tables", fault);
    }
}

/// What the last sweep left.
#[derive(Debug, Default)]
struct Sweep {
    at: Option<Instant>,
    held: Held,
    /// Flows that had been opened by then.
    opened: u64,
    /// What is wrong since, if anything.
    fault: Option<String>,
}

impl Network {
    /// Sweeps if it is time, or if it must be known whether the tables are full.
    async fn look_at_flows(self: &Arc<Self>, last: &mut Sweep) -> PartResult {
        let opened = self.datapath.flows_opened()?;
        let size = self.datapath.conntrack.capacity();
        let since = opened.saturating_sub(last.opened);
        // What could not be made larger is tried again with the next sweep that is due.
        let may_grow = size < self.room.most && last.fault.is_none();
        let may_be_short = may_grow && last.held.and(since).is_too_much_for(size, 4);
        if last.at.is_none_or(|at| at.elapsed() >= PERIOD) || may_be_short && since > 0 {
            let network = Arc::clone(self);
            let sweep = tokio::task::spawn_blocking(move || network.sweep(monotonic_ns()));
            *last = Sweep {
                at: Some(Instant::now()),
                held: sweep.await??,
                opened,
                fault: None,
            };
            last.fault = self.make_room(last.held, size).await;
        }
        last.fault.clone().map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Makes the tables larger if they hold too much. Says what is wrong, if anything is.
    async fn make_room(self: &Arc<Self>, held: Held, size: u32) -> Option<String> {
        // Links do not move before the maps are filled.
        if self.datapath.is_filling() {
            return None;
        }
        let rest = self.datapath.is_growing().then_some(size);
        if let Some(wanted) = self.room.wanted(held, size).or(rest) {
            let enlarged = self.enlarge(wanted).await;
            return enlarged.err().map(|error| chain(error.as_ref()));
        }
        held.is_too_much_for(size, 4).then(|| {
            format!(
                "{} flows and {} translations in tables for {size} flows, which may not grow \
                 (--flow-table-limit): the ones that were idle longest are forgotten",
                held.flows, held.translations
            )
        })
    }

    /// Makes the tables larger: see [`crate::datapath::Datapath::enlarge`].
    async fn enlarge(self: &Arc<Self>, flows: u32) -> PartResult {
        let started = Instant::now();
        // Nobody is attached or detached, nor are flows forgotten, while links and entries move.
        let _alone = self.moving.write().await;
        let network = Arc::clone(self);
        if !tokio::task::spawn_blocking(move || network.datapath.enlarge(flows)).await?? {
            return Ok(());
        }
        self.attach_all().await?;
        let network = Arc::clone(self);
        let carried = tokio::task::spawn_blocking(move || network.datapath.finish_growth());
        let carried = carried.await??;
        self.tell_of_room()?;
        tracing::info!(flows, carried, took = ?started.elapsed(), "room for more flows");
        Ok(())
    }

    /// Deletes the entries that the data path takes for absent already. Returns what is left.
    fn sweep(&self, now: u64) -> PartResult<Held> {
        let timeouts = self.datapath.node_config()?.timeouts;
        let flows = self.datapath.conntrack.sweep(
            |conn| conn.seen_ns,
            |key, conn| conntrack::is_stale(conn, key.protocol, &timeouts, now),
        )?;
        let translations = self.datapath.nat.sweep(
            |entry| entry.seen_ns,
            |key, entry| nat::is_stale(entry, key.protocol, &timeouts, now),
        )?;
        Ok(Held {
            flows,
            translations,
        })
    }

    /// Forgets every flow and translation of an address, so that its next owner starts clean.
    pub(super) fn forget_flows(&self, addr: Addr) -> PartResult {
        let (flows, nat) = (&self.datapath.conntrack, &self.datapath.nat);
        let (mut its_flows, mut its_translations) = (Vec::new(), Vec::new());
        flows.for_each(|tuple, _| {
            if tuple.addr.contains(&addr) {
                its_flows.push(tuple);
            }
        })?;
        nat.for_each(|key, entry| {
            if [key.src, key.dst, entry.src, entry.dst].contains(&addr) {
                its_translations.push(key);
            }
        })?;
        flows.delete_all(&its_flows)?;
        Ok(nat.delete_all(&its_translations)?)
    }
}
