//! One line of what is allowed.

use crate::api::request::ResourcePath;

/// What a user may do with some resources.
#[derive(Debug)]
pub(in crate::api) struct Rule {
    /// API group.
    pub(in crate::api) group: &'static str,
    /// Resources, with their subresource where that is meant.
    pub(in crate::api) resources: &'static [&'static str],
    /// Verbs.
    pub(in crate::api) verbs: &'static [&'static str],
    /// Which of their objects.
    pub(super) scope: Scope,
}

/// Which objects a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them.
    All,
    /// The object named like the node.
    OwnName,
    /// The node's lease.
    OwnLease,
    /// Pods bound to the node.
    OwnPods,
    /// What a pod bound to the node refers to.
    Referenced,
}

/// A rule in one line.
pub(super) const fn allow(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    scope: Scope,
) -> Rule {
    Rule {
        group,
        resources,
        verbs,
        scope,
    }
}

impl Rule {
    /// Whether it is about that verb and resource.
    pub(super) fn covers(&self, verb: &str, path: &ResourcePath) -> bool {
        self.group == path.group
            && self.verbs.contains(&verb)
            && self.resources.contains(&path.resource().as_str())
    }

    /// Whether it holds for every object.
    pub(in crate::api) fn is_unconditional(&self) -> bool {
        self.scope == Scope::All
    }
}
