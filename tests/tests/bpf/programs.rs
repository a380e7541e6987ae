//! The objects themselves.

use naru_ebpf_common::names;

use super::node::{load, namespaces};
use crate::objects;

#[test]
fn every_object_loads_with_its_real_map_sizes() {
    if let Some(why) = objects::unavailable() {
        println!("SKIP {why}");
        return;
    }
    let bpffs = namespaces();
    for program in names::TC_PROGRAMS.into_iter().chain([names::FROM_WIRE]) {
        load(program, bpffs.path(), false);
    }
    for (map, _) in names::MAPS {
        assert!(bpffs.path().join(map).exists(), "{map} is not pinned");
    }
}
