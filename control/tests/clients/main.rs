//! Proof with clients that nobody here wrote: each is as its registry has it, at an exact version,
//! and a small script in `tests/clients` says with it what it claims about the API.
//!
//! Every client gets a control plane of its own, because some of them make a mess on purpose. A
//! claim is a test with the name that it has in its script; the output has the shape of the standard
//! harness. A client that can't be had here (no interpreter, a registry out of reach) is reported as
//! skipped, with the reason; claims that a script doesn't reach have failed.

#[path = "../process/mod.rs"]
mod process;

mod client;
mod prepare;
mod report;

use std::process::ExitCode;

use client::{Client, Tool};
use report::Report;

/// In the order in which they run: the quick ones first.
const CLIENTS: &[Client] = &[
    Client {
        name: "python",
        script: "python/proof.py",
        tool: Tool::Python,
    },
    Client {
        name: "kopf",
        script: "kopf/proof.py",
        tool: Tool::Python,
    },
    Client {
        name: "helm",
        script: "helm/proof.py",
        tool: Tool::Python,
    },
    Client {
        name: "schemathesis",
        script: "schemathesis/proof.py",
        tool: Tool::Python,
    },
    Client {
        name: "node",
        script: "node/proof.mjs",
        tool: Tool::Node,
    },
    Client {
        name: "kube",
        script: "kube/src/claims.rs",
        tool: Tool::Cargo,
    },
    Client {
        name: "conversion",
        script: "conversion/proof.py",
        tool: Tool::Python,
    },
];

fn main() -> ExitCode {
    let (options, filters): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with('-'));
    let chosen: Vec<_> = CLIENTS
        .iter()
        .map(|client| (client, client.claims(&filters)))
        .collect();
    let names = chosen.iter().map(|(_, claims)| claims.len());
    if options.iter().any(|option| option == "--list") {
        for (client, claims) in &chosen {
            claims
                .iter()
                .for_each(|claim| println!("{}::{claim}: test", client.name));
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", names.sum::<usize>());
    let mut report = Report::default();
    for (client, claims) in chosen.iter().filter(|(_, claims)| !claims.is_empty()) {
        client.prove(claims, &mut report);
    }
    report.end()
}
