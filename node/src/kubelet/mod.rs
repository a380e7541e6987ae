//! The node's HTTPS server: logs, exec, port-forward and the gRPC services of netctl.
