//! naru-ebpf-logic
