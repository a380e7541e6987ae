//! Finds the kind behind a path.

use serde_json::Value;

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

    /// The kind under whose rules the objects are kept: another version of this one, or itself.
    pub(super) fn stored(&self) -> Target {
        let kind = self.kind.stored_as.map_or(self.kind, |other| other.kind);
        Target { kind, ..*self }
    }

    /// Rewrites an object of this version in the form in which it is kept.
    pub(super) fn to_stored(self, object: &mut Value) {
        if let Some(other) = self.kind.stored_as {
            (other.to_stored)(object);
            if other.kind.custom.is_some() {
                object["apiVersion"] = api_version(other.kind).into();
            }
        }
    }

    /// Rewrites a stored object in this version.
    pub(super) fn show(&self, object: &mut Value) {
        if let Some(other) = self.kind.stored_as {
            (other.from_stored)(object);
            if other.kind.custom.is_some() {
                object["apiVersion"] = self.api_version().into();
            }
        }
    }

    /// Whether the text of a stored object is in this version already: an object's text begins with
    /// its version.
    pub(super) fn is_shown(&self, stored: &[u8]) -> bool {
        self.kind.stored_as.is_none() || self.wrote(stored)
    }

    /// Whether the text of a stored object is in the version in which objects are kept now.
    pub(super) fn is_kept(&self, stored: &[u8]) -> bool {
        self.kind.custom.is_none() || self.stored().wrote(stored)
    }

    fn wrote(self, stored: &[u8]) -> bool {
        let head = format!(r#"{{"apiVersion":"{}","#, self.api_version());
        stored.starts_with(head.as_bytes())
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
            paths: kind.paths,
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
        let (own, kind) = self.0.iter().enumerate().find(|(_, kind)| wanted(kind))?;
        let index = match kind.stored_as {
            None => own,
            Some(other) => self.0.iter().position(|have| same(have, other.kind))?,
        };
        Some(Target {
            kind,
            resource: Resource(index),
        })
    }
}

fn same(one: &Kind, other: &Kind) -> bool {
    (one.group, one.version, one.plural) == (other.group, other.version, other.plural)
}
