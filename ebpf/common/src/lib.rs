//! naru-ebpf-common
