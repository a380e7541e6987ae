//! Finds the kind behind a path.

use crate::registry::kind::Kind;
use crate::store::{Resource, ResourceDef};

/// A kind and where the store keeps it.
#[derive(Clone, Copy)]
pub struct Target {
    /// What the machinery knows about it.
    pub kind: &'static Kind,
    /// Where its objects are.
    pub resource: Resource,
}

impl Target {
    /// `group/version`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        api_version(self.kind)
    }
}

/// `group/version`, or `v1` in the core group.
pub(super) fn api_version(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.version.to_owned()
    } else {
        format!("{}/{}", kind.group, kind.version)
    }
}

/// All served kinds.
#[derive(Clone, Copy)]
pub struct Kinds(pub &'static [&'static Kind]);

impl Kinds {
    /// What the store has to keep.
    pub fn resources(&self) -> Vec<ResourceDef> {
        let def = |kind: &&'static Kind| ResourceDef {
            group: kind.group,
            plural: kind.plural,
            fields: kind.fields,
        };
        self.0.iter().map(def).collect()
    }

    /// The kind of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Target> {
        self.position(|kind| {
            kind.plural == plural && kind.group == group && kind.version == version
        })
    }

    /// A kind by group and plural name, whatever its version.
    pub fn of(&self, group: &str, plural: &str) -> Option<Target> {
        self.position(|kind| kind.plural == plural && kind.group == group)
    }

    fn position(&self, wanted: impl Fn(&Kind) -> bool) -> Option<Target> {
        let index = self.0.iter().position(|kind| wanted(kind))?;
        Some(Target {
            kind: self.0[index],
            resource: Resource(index),
        })
    }
}
