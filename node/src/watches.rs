//! One watch per kind, shared by every part of the daemon.
