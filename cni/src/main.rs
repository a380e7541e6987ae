//! naru-cni

fn main() {}
