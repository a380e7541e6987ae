//! From NetworkPolicies to policy maps: pure plans.
