//! Datagram flows and sockets whose backend has left its service: ended, so that they choose anew.

use std::collections::HashSet;

use naru_ebpf_common::Addr;

use super::{Network, chain};
use crate::PartResult;
use crate::net::{NetError, Netlink, Peer, end_sockets};
use crate::service::{Programmed, leftovers, stranded};

/// What is missing on a kernel that cannot end sockets.
pub(super) const WITHOUT: &str = "no SOCK_DESTROY for UDP (CONFIG_INET_DIAG_DESTROY and udp_diag): \
    connected datagram sockets stay with a backend that has left";

impl Network {
    /// Ends what a change of `programmed` left behind. What cannot be ended is told by
    /// `netctl status`; the next change tries again.
    pub(super) async fn end_stranded(&self, programmed: &Programmed) {
        let _still = self.moving.read().await;
        let mut faults = Vec::new();
        if let Err(error) = self.forget_leftovers(programmed) {
            faults.push(chain(error.as_ref()));
        }
        if let Err(error) = self.end_sockets(programmed).await {
            faults.push(chain(error.as_ref()));
        }
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        self.health.set("datagram-flows", fault);
    }

    /// Forgets flows that are translated per packet. A packet that was being translated while the
    /// service changed may bring one back: it goes with the next change.
    fn forget_leftovers(&self, programmed: &Programmed) -> PartResult {
        let translations = self.datapath.nat.entries()?;
        let own = self.own_addresses();
        let nodes: Vec<Addr> = own.iter().copied().map(Addr::from).collect();
        let leftovers = leftovers(&translations, programmed, &nodes);
        for leftover in &leftovers {
            self.datapath.nat.delete_all(&leftover.nat)?;
            self.datapath.conntrack.delete(&leftover.flow)?;
        }
        if !leftovers.is_empty() {
            tracing::info!(
                flows = leftovers.len(),
                "datagram flows of removed backends forgotten"
            );
        }
        Ok(())
    }

    /// Ends connected sockets, in every pod and on the node itself.
    async fn end_sockets(&self, programmed: &Programmed) -> PartResult {
        let stranded = stranded(&self.datapath.sockets.entries()?, programmed);
        if stranded.is_empty() {
            return Ok(());
        }
        let mut ended = end_on_node(stranded.clone()).await?;
        for attachment in self.attachments() {
            let sockets = stranded.clone();
            let inside = Netlink::inside(&attachment.lease.netns, move || end_sockets(&sockets));
            match inside.await {
                Ok((_, count)) => ended += count,
                // The pod is going, and its sockets with it.
                Err(NetError::Namespace { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ended > 0 {
            tracing::info!(
                sockets = ended,
                "datagram sockets of removed backends ended"
            );
        }
        Ok(())
    }
}

async fn end_on_node(sockets: HashSet<Peer>) -> Result<usize, NetError> {
    let ended = tokio::task::spawn_blocking(move || end_sockets(&sockets)).await;
    ended.map_err(|error| NetError::Socket(std::io::Error::other(error)))?
}
