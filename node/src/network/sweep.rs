//! Expired flows leave the tables.

use std::sync::Arc;
use std::time::Duration;

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::flow::SEEN;
use naru_ebpf_common::{Addr, Conn, Tuple, protocol};

use super::{Network, chain};
use crate::PartResult;
use crate::datapath::monotonic_ns;

/// Tables are LRU: a late sweep costs room, never correctness.
const PERIOD: Duration = Duration::from_secs(30);
const SECOND: u64 = 1_000_000_000;

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
    /// Deletes entries that have been idle for longer than their time. An entry that was used since
    /// it was read stays: it is read once more before it goes.
    fn sweep(&self, now: u64) -> PartResult {
        let timeouts = self.datapath.node_config()?.timeouts;
        let mut flows = 0;
        for (tuple, conn) in self.datapath.conntrack.entries()? {
            if is_over(now, conn.seen_ns, idle_seconds(&timeouts, &tuple, &conn))
                && self
                    .datapath
                    .conntrack
                    .get(&tuple)?
                    .is_some_and(|c| c.seen_ns == conn.seen_ns)
            {
                self.datapath.conntrack.delete(&tuple)?;
                flows += 1;
            }
        }
        let longest = timeouts.tcp_established;
        for (key, entry) in self.datapath.nat.entries()? {
            if is_over(now, entry.seen_ns, longest)
                && self
                    .datapath
                    .nat
                    .get(&key)?
                    .is_some_and(|e| e.seen_ns == entry.seen_ns)
            {
                self.datapath.nat.delete(&key)?;
            }
        }
        if flows > 0 {
            tracing::debug!(flows, "expired flows swept");
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

fn is_over(now: u64, seen: u64, idle: u32) -> bool {
    now.saturating_sub(seen) > u64::from(idle) * SECOND
}

/// How long a flow may be idle, by what its two sides have sent.
fn idle_seconds(timeouts: &Timeouts, tuple: &Tuple, conn: &Conn) -> u32 {
    match tuple.protocol {
        protocol::TCP => {}
        protocol::UDP => return timeouts.udp,
        _ => return timeouts.icmp,
    }
    let [a, b] = conn.sides;
    if (a | b) & protocol::RST != 0 {
        timeouts.tcp_reset
    } else if a & b & protocol::FIN != 0 {
        timeouts.tcp_closing
    } else if a & b & SEEN != 0 {
        timeouts.tcp_established
    } else {
        timeouts.tcp_opening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_time() {
        let tcp = Tuple {
            protocol: protocol::TCP,
            ..Tuple::default()
        };
        let seconds = |a: u8, b: u8| {
            let conn = Conn {
                sides: [a, b],
                ..Conn::default()
            };
            idle_seconds(&Timeouts::DEFAULT, &tcp, &conn)
        };
        let t = Timeouts::DEFAULT;
        assert_eq!(seconds(SEEN | protocol::SYN, 0), t.tcp_opening);
        assert_eq!(seconds(SEEN, SEEN), t.tcp_established);
        assert_eq!(seconds(SEEN | protocol::FIN, SEEN), t.tcp_established);
        assert_eq!(
            seconds(SEEN | protocol::FIN, SEEN | protocol::FIN),
            t.tcp_closing
        );
        assert_eq!(seconds(SEEN, SEEN | protocol::RST), t.tcp_reset);
        let udp = Tuple {
            protocol: protocol::UDP,
            ..Tuple::default()
        };
        assert_eq!(idle_seconds(&t, &udp, &Conn::default()), t.udp);
    }

    #[test]
    fn an_entry_of_the_future_is_not_over() {
        assert!(!is_over(5, 10 * SECOND, 1));
        assert!(is_over(12 * SECOND, 10 * SECOND, 1));
        assert!(!is_over(11 * SECOND, 10 * SECOND, 1));
    }
}
