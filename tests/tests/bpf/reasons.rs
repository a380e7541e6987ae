//! Every reason for a drop is reached by a test.

use naru_ebpf_common::Reason;

/// The tables, and the decisions on the host.
const TESTS: [&str; 18] = [
    include_str!("bandwidth.rs"),
    include_str!("clients.rs"),
    include_str!("direct.rs"),
    include_str!("fragments.rs"),
    include_str!("from_network.rs"),
    include_str!("from_pod.rs"),
    include_str!("life.rs"),
    include_str!("overlay.rs"),
    include_str!("refused.rs"),
    include_str!("remembered.rs"),
    include_str!("sctp.rs"),
    include_str!("sockets.rs"),
    include_str!("to_pod.rs"),
    include_str!("v4/only.rs"),
    include_str!("v6/only.rs"),
    include_str!("../../../ebpf/logic/tests/decisions.rs"),
    include_str!("../../../ebpf/logic/tests/overlay/direct.rs"),
    include_str!("../../../ebpf/logic/tests/overlay/main.rs"),
];

#[test]
fn every_reason_is_reached_by_a_test() {
    for reason in Reason::ALL {
        let constant = reason.name().replace('-', "_").to_uppercase();
        let named = format!("Reason::{constant}");
        let is_tested = TESTS.iter().any(|table| {
            let mut after = table
                .match_indices(&named)
                .map(|(at, found)| at + found.len());
            after.any(|end| !table[end..].starts_with(|c: char| c == '_' || c.is_alphanumeric()))
        });
        assert!(is_tested, "{named} has no test");
    }
}
