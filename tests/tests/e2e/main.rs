//! Whole clusters, driven as a user drives them: unmodified kubectl, real containerd, real kernel.
//!
//! One cluster serves nearly every test, in the order below; those that hurt it stand last. Another
//! one after it has IPv6 alone, and a third one an overlay. Each test works in a namespace of its own.
//! The output has the shape of the standard harness.
//!
//! `NARU_E2E_KEEP=1` leaves the clusters running, for a look into it and for a quick next run.

mod balancers;
mod bandwidth;
mod debug;
mod families;
mod faults;
mod faults_disk;
mod faults_node;
mod first_light;
mod harness;
mod images;
mod ingress;
mod kubectl;
mod lifecycle;
mod names;
mod netctl;
mod network;
mod overlay;
mod policy;
mod proxies;
mod resize;
mod runtime;
mod service_table;
mod services;
mod six;
mod soak;
mod streams;
mod workloads;
mod world;

use std::process::ExitCode;

use harness::{Case, Stage};
use naru_tests::support::{Families, Routing};

fn main() -> ExitCode {
    let groups: &[&[Case]] = &[
        first_light::CASES,
        kubectl::CASES,
        streams::CASES,
        debug::CASES,
        proxies::CASES,
        workloads::CASES,
        images::CASES,
        lifecycle::CASES,
        runtime::CASES,
        resize::CASES,
        network::CASES,
        bandwidth::CASES,
        services::CASES,
        service_table::CASES,
        balancers::CASES,
        names::CASES,
        policy::CASES,
        families::CASES,
        ingress::CASES,
        netctl::CASES,
        soak::CASES,
        faults_node::CASES,
        faults_disk::CASES,
        faults::CASES,
    ];
    let both = Stage {
        cluster: "e2e",
        families: Families::Both,
        routing: Routing::Native,
        start: "a_cluster_of_two_nodes_starts",
        end: "down_leaves_nothing_behind",
        cases: groups.concat(),
    };
    let six = Stage {
        cluster: "six",
        families: Families::V6,
        routing: Routing::Native,
        start: "a_cluster_of_ipv6_alone_starts",
        end: "a_cluster_of_ipv6_alone_leaves_nothing_behind",
        cases: six::CASES.to_vec(),
    };
    let tunnel = Stage {
        cluster: "tunnel",
        families: Families::Both,
        routing: Routing::Vxlan,
        start: "a_cluster_with_an_overlay_starts",
        end: "a_cluster_with_an_overlay_leaves_nothing_behind",
        cases: overlay::CASES.to_vec(),
    };
    harness::run(&[both, six, tunnel])
}
