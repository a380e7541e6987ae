//! From Pods, Nodes and CIDRs to identities: pure plans.
