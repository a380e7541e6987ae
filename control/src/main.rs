//! naru-control

fn main() {}
