//! Whole clusters, driven as a user drives them: unmodified kubectl, real containerd, real kernel.
//!
//! One cluster serves every test, in the order below; those that hurt it stand last. Each test works
//! in a namespace of its own. The output has the shape of the standard harness.
//!
//! `NARU_E2E_KEEP=1` leaves the cluster running, for a look into it and for a quick next run.

mod balancers;
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
mod policy;
mod proxies;
mod runtime;
mod services;
mod streams;
mod workloads;
mod world;

use std::process::ExitCode;

use harness::Case;

fn main() -> ExitCode {
    let groups: [&[Case]; 19] = [
        first_light::CASES,
        kubectl::CASES,
        streams::CASES,
        proxies::CASES,
        workloads::CASES,
        images::CASES,
        lifecycle::CASES,
        runtime::CASES,
        network::CASES,
        services::CASES,
        balancers::CASES,
        names::CASES,
        policy::CASES,
        families::CASES,
        ingress::CASES,
        netctl::CASES,
        faults_node::CASES,
        faults_disk::CASES,
        faults::CASES,
    ];
    harness::run(&groups.concat())
}
