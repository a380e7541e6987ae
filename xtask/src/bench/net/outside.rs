//! From outside to a node port: at the node where the endpoint is, and at another one, whose packets
//! are translated or handed on.
//!
//! The peer is a connection to the endpoint's node itself, over the same links and without any
//! Service. What is asked from outside crosses one link more when it asks the other node.
//!
//! Short connections are closed by a reset: the endpoint sees the same client through both nodes, and
//! one that it still remembers from the other one would have to wait. What is translated is bound by
//! its source ports all the same: 23,536 for an endpoint, each of which rests for 10 s.

use anyhow::Result;
use naru_tests::support::daemons::node_process;
use naru_tests::support::{Cluster, addresses};

use super::end::Mode;
use super::{Bed, at};
use crate::bench::report::Report;

/// The namespace that is none of the cluster's.
const ROLE: &str = "outside";
/// The node of the endpoint, and one without.
const NEAR: u8 = 2;
const FAR: u8 = 1;
/// What the client does.
const MODES: [Mode; 3] = [Mode::RequestResponse, Mode::Reset, Mode::Stream];

impl Bed<'_> {
    /// Every mode of the client, at both nodes, in both modes of the nodes.
    pub(super) fn outside(&self, report: &mut Report) -> Result<()> {
        for mode in MODES {
            self.node_port(mode, NEAR, "near", report)?;
            self.node_port(mode, FAR, "far_snat", report)?;
        }
        let handed_on = "far_dsr";
        if !MODES
            .iter()
            .any(|mode| report.wants(&case(*mode, handed_on)))
        {
            return Ok(());
        }
        restart(self.cluster, &["--load-balancer-mode", "dsr"])?;
        let outcome = MODES
            .into_iter()
            .try_for_each(|mode| self.node_port(mode, FAR, handed_on, report));
        restart(self.cluster, &[])?;
        outcome
    }

    fn node_port(&self, mode: Mode, node: u8, place: &str, report: &mut Report) -> Result<()> {
        if !report.wants(&case(mode, place)) {
            return Ok(());
        }
        let client = self.host(ROLE, &self.hosts.client)?;
        let server = self.host(&format!("node{NEAR}"), &self.hosts.server)?;
        let _serving = server.serve()?;
        let port = self
            .ground
            .field("service/remote", ".spec.ports[0].nodePort")?;
        let ours = format!("{}:{port}", addresses::node(node));
        let theirs = at(&addresses::node(NEAR).to_string());
        let seconds = self.effort.seconds;
        self.pair(
            report,
            &case(mode, place),
            mode,
            "host to host",
            || client.measure(&ours, mode, seconds),
            || client.measure(&theirs, mode, seconds),
        )
        .map(drop)
    }
}

fn case(mode: Mode, place: &str) -> String {
    format!("node_port_{}_{place}", mode.name())
}

/// Both nodes anew, with these flags.
fn restart(cluster: &Cluster, flags: &[&str]) -> Result<()> {
    for k in [FAR, NEAR] {
        cluster.kill(&node_process(k))?;
        cluster.start_node_with(k, flags)?;
    }
    cluster.wait_ready()
}
