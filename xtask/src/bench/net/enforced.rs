//! From a new NetworkPolicy to its entries in the maps of the node whose pod it selects.
//!
//! The clock starts before the request is sent and stops when the daemon says that the last entry is
//! written. So the span holds more than from the API's event on: the request, the server's durable write,
//! the event's way, the two milliseconds in which changes settle, and the programming, which is also told
//! alone, by the daemon itself.

use anyhow::Result;
use naru_tests::support::Cluster;

use super::programmed::Programmed;
use crate::bench::report::Report;
use crate::bench::series::{Better, Case};
use crate::bench::{Ground, load};

/// Prefix of the cases.
pub(super) const ENFORCED: &str = "policy_enforced";

/// The node of the pod that is selected, and the pod's label.
const NODE: u8 = 1;
const APP: &str = "server";
const POLICIES: u16 = 100;
/// Each policy opens a port of its own, so that each has an entry to write.
const FIRST_PORT: u16 = 10_000;

/// Makes one policy after another, and deletes them all.
///
/// # Errors
/// When a policy is refused or does not reach the node.
pub(super) fn measure(cluster: &Cluster, ground: &Ground, report: &mut Report) -> Result<()> {
    let mut programmed = Programmed::from_now(cluster, NODE)?;
    let (mut delays, mut spans) = (Vec::new(), Vec::new());
    for number in 0..=POLICIES {
        let name = format!("enforced-{number}");
        let port = (FIRST_PORT + number).to_string();
        let words = ["--namespace", Ground::NAME, "--name", &name, "--app", APP];
        let sent = load::run(
            cluster,
            "policy",
            &[&words[..], &["--port", &port]].concat(),
        )?;
        let policy = programmed.next_policy()?;
        // The first of all is the warm-up.
        if number > 0 {
            delays.push(policy.at.as_microsecond() as f64 / 1e3 - sent * 1e3);
            spans.push(policy.took.as_secs_f64() * 1e3);
        }
    }
    ground.run(&["delete", "networkpolicy", "--all"])?;
    report.add(Case::alone(ENFORCED, "ms", Better::Lower, &delays));
    delays.sort_unstable_by(f64::total_cmp);
    let slow = [delays[delays.len() * 99 / 100]];
    let case = |part: &str, figures| {
        Case::alone(&format!("{ENFORCED}_{part}"), "ms", Better::Lower, figures)
    };
    report.add(case("p99", &slow));
    report.add(case("programming", &spans));
    Ok(())
}
