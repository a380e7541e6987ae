//! One endpoint changes on a node that knows ten thousand services of ten endpoints each.
//!
//! The span is the daemon's own: from reading what it knows to the last entry in the maps. Before it,
//! the event travels from the API server, and changes get two milliseconds to settle.

use anyhow::Result;
use naru_tests::support::Cluster;
use naru_tests::support::daemons::node_process;

use super::programmed::Programmed;
use crate::bench::daemon::Daemon;
use crate::bench::report::Report;
use crate::bench::series::{Better, Case};
use crate::bench::{Ground, load};

/// Prefix of the cases.
pub(super) const CHANGE: &str = "change_of_an_endpoint_10000_services";
/// Endpoints of each service; pods need not be there.
pub(super) const ENDPOINTS: u8 = 10;

/// A node whose pods have no part in it.
const NODE: u8 = 2;
const CHANGES: usize = 100;
const PATCH: &str =
    r#"[{"op":"replace","path":"/endpoints/0/addresses/0","value":"10.244.200.99"}]"#;

/// The addresses of `ENDPOINTS` pods that no node has.
pub(super) fn endpoints() -> String {
    let addresses = (1..=ENDPOINTS).map(|pod| format!("10.244.200.{pod}"));
    addresses.collect::<Vec<_>>().join(",")
}

/// Moves an endpoint of one service after another, when the node knows the `services` that `make`
/// makes.
///
/// # Errors
/// When a change is refused or does not reach the node.
pub(super) fn measure(
    cluster: &Cluster,
    ground: &Ground,
    (services, make): (usize, impl FnOnce() -> Result<()>),
    report: &mut Report,
) -> Result<()> {
    let mut programmed = Programmed::from_now(cluster, NODE)?;
    make()?;
    programmed.next(services)?;
    let mut change = |number: usize| {
        let slice = format!("endpointslice/svc-{number}");
        let words = [
            "-n",
            load::NAMESPACE,
            "patch",
            &slice,
            "--type=json",
            "-p",
            PATCH,
        ];
        ground.kubectl.run(&words)?;
        programmed.next(services)
    };
    // What was still on its way comes with the first.
    change(services - 1)?;
    let spans = (0..CHANGES).map(|n| Ok(change(n * services / CHANGES)?.as_secs_f64() * 1e3));
    let mut spans: Vec<f64> = spans.collect::<Result<_>>()?;
    report.add(Case::alone(CHANGE, "ms", Better::Lower, &spans));
    spans.sort_unstable_by(f64::total_cmp);
    let slow = [spans[CHANGES * 99 / 100]];
    report.add(Case::alone(
        &format!("{CHANGE}_p99"),
        "ms",
        Better::Lower,
        &slow,
    ));
    let memory = Daemon::of(cluster, &node_process(NODE))?.memory()?;
    let memory = [memory / f64::from(1 << 20)];
    let case = format!("{CHANGE}_memory_node");
    report.add(Case::alone(&case, "MiB", Better::Lower, &memory));
    Ok(())
}
