//! Who owns whom: all objects by uid, with the verdicts of garbage collection.
//!
//! Pure: changes go in, the uids to look at come out; [`Graph::verdict`] says what to do with one,
//! given what is known of owners that the graph does not hold.

use crate::controllers::runtime::uid::Uid;
use crate::controllers::runtime::uids::Uids;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Finalizer of an object that waits for its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object that lets its dependents live.
pub const ORPHAN: &str = "orphan";

/// Names an object for the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ident {
    /// Group and version, such as `apps/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// An object as far as ownership goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its name.
    pub ident: Ident,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Whether deletion has begun.
    pub deleting: bool,
    /// Whether it waits for its dependents.
    pub foreground: bool,
    /// Whether it lets its dependents live.
    pub orphan: bool,
}

impl Object {
    /// Reads metadata.
    pub fn read(api_version: &str, kind: &str, meta: &ObjectMeta) -> Self {
        let has = |name: &str| {
            meta.finalizers
                .iter()
                .flatten()
                .any(|finalizer| finalizer == name)
        };
        Object {
            ident: Ident {
                api_version: api_version.into(),
                kind: kind.into(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
            },
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Whether there is nothing to say about it but that it is there.
    fn is_plain(&self) -> bool {
        self.owners.is_empty() && !self.deleting
    }
}

/// How an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It lives.
    Solid,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// It is gone.
    Absent,
}

/// What to do with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Remove references to these owners: another owner keeps the object.
    Detach(Vec<String>),
    /// Delete it, and its dependents before or after it.
    Delete {
        /// Dependents first.
        foreground: bool,
    },
    /// Remove the reference to it from these dependents, then its finalizer `orphan`.
    Orphan(Vec<String>),
    /// Nothing holds it any more: remove its finalizer `foregroundDeletion`.
    Finish,
    /// Look at these dependents; their end wakes it.
    Await(Vec<String>),
}

/// The graph. Most objects of a cluster have no owner and live; of those it keeps the uid alone, by
/// API version and kind.
#[derive(Debug, Default)]
pub struct Graph {
    objects: HashMap<String, Object>,
    plain: BTreeMap<(String, String), Uids>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    /// The object with `uid`, if it has owners or is being deleted.
    pub fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    /// Adds or replaces an object; answers the uids to look at.
    pub fn set(&mut self, uid: &str, object: Object) -> BTreeSet<String> {
        let mut wake = BTreeSet::new();
        if let Some(old) = self.objects.get(uid) {
            let owners = old.owners.clone();
            wake.extend(self.waiting(&owners));
            self.unlink(uid, &owners);
        }
        for owner in &object.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.to_owned());
        }
        let doomed = |owner: &OwnerReference| self.owner(&owner.uid) != Some(Owner::Solid);
        let finalizing = object.deleting && (object.foreground || object.orphan);
        if finalizing || object.owners.iter().any(doomed) {
            wake.insert(uid.to_owned());
        }
        if object.is_plain() {
            self.objects.remove(uid);
            let sort = (object.ident.api_version, object.ident.kind);
            self.plain.entry(sort).or_default().insert(uid.into());
        } else {
            self.remove_plain(uid);
            self.objects.insert(uid.to_owned(), object);
        }
        wake
    }

    /// Removes an object; answers the uids to look at.
    pub fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let known = self.remove_plain(uid);
        let object = self.objects.remove(uid);
        if !known && object.is_none() {
            return BTreeSet::new();
        }
        let owners = object.map(|object| object.owners).unwrap_or_default();
        self.unlink(uid, &owners);
        let mut wake: BTreeSet<String> = self.dependents_of(uid).into_iter().collect();
        wake.extend(self.waiting(&owners));
        wake
    }

    /// Of all objects of a kind those that are not among `listed`.
    pub fn missing(&self, api_version: &str, kind: &str, listed: &Uids) -> Vec<String> {
        let plain = self.plain.iter();
        let plain = plain.filter(|((version, name), _)| version == api_version && name == kind);
        let plain = plain.flat_map(|(_, uids)| uids.iter());
        let unlisted = plain.filter(|uid| !listed.contains(uid));
        let others = self.objects.iter().filter(|(_, object)| {
            object.ident.api_version == api_version && object.ident.kind == kind
        });
        let others = others.filter(|(uid, _)| !listed.contains(&uid.as_str().into()));
        let unlisted = unlisted.map(|uid| uid.to_string());
        unlisted.chain(others.map(|(uid, _)| uid.clone())).collect()
    }

    /// Where an object is, if it is in a namespace.
    pub fn namespace_of(&self, uid: &str) -> Option<String> {
        let namespace = &self.objects.get(uid)?.ident.namespace;
        (!namespace.is_empty()).then(|| namespace.clone())
    }

    /// Every uid that has owners or waits for dependents.
    pub fn interesting(&self) -> Vec<String> {
        let concerned = self
            .objects
            .iter()
            .filter(|(_, object)| !object.owners.is_empty() || object.deleting);
        concerned.map(|(uid, _)| uid.clone()).collect()
    }

    /// What the graph knows of an owner; `None` asks for a look at the API.
    pub fn owner(&self, uid: &str) -> Option<Owner> {
        match self.objects.get(uid) {
            Some(object) if object.waits_for_dependents() => Some(Owner::Waiting),
            Some(_) => Some(Owner::Solid),
            None => self.is_plain(uid).then_some(Owner::Solid),
        }
    }

    fn is_plain(&self, uid: &str) -> bool {
        let uid = Uid::from(uid);
        self.plain.values().any(|uids| uids.contains(&uid))
    }

    fn remove_plain(&mut self, uid: &str) -> bool {
        let uid = Uid::from(uid);
        self.plain.values_mut().any(|uids| uids.remove(&uid))
    }

    /// What to do with the object `uid`, whose owners stand as `state` says.
    pub fn verdict(&self, uid: &str, object: &Object, state: impl Fn(&str) -> Owner) -> Verdict {
        if object.deleting {
            return self.finalize(uid, object);
        }
        if object.owners.is_empty() {
            return Verdict::Keep;
        }
        let with = |wanted: Owner| -> Vec<String> {
            let uids = object.owners.iter().map(|owner| &owner.uid);
            uids.filter(|uid| state(uid) == wanted).cloned().collect()
        };
        let (absent, waiting) = (with(Owner::Absent), with(Owner::Waiting));
        let solid = object.owners.len() - absent.len() - waiting.len();
        if solid > 0 {
            let lost = [absent, waiting].concat();
            return if lost.is_empty() {
                Verdict::Keep
            } else {
                Verdict::Detach(lost)
            };
        }
        let has_dependents = !self.dependents_of(uid).is_empty();
        Verdict::Delete {
            foreground: object.foreground || (!waiting.is_empty() && has_dependents),
        }
    }

    fn finalize(&self, uid: &str, object: &Object) -> Verdict {
        if object.orphan {
            return Verdict::Orphan(self.dependents_of(uid));
        }
        if !object.foreground {
            return Verdict::Keep;
        }
        let dependents = self.dependents_of(uid);
        if dependents
            .iter()
            .any(|dependent| self.blocks(dependent, uid))
        {
            Verdict::Await(dependents)
        } else {
            Verdict::Finish
        }
    }

    fn blocks(&self, dependent: &str, owner: &str) -> bool {
        let Some(object) = self.objects.get(dependent) else {
            return false;
        };
        object
            .owners
            .iter()
            .any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }

    fn dependents_of(&self, uid: &str) -> Vec<String> {
        let mut dependents: Vec<String> = self
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        dependents.sort();
        dependents
    }

    fn waiting(&self, owners: &[OwnerReference]) -> Vec<String> {
        let waits = |uid: &String| {
            self.objects
                .get(uid)
                .is_some_and(Object::waits_for_dependents)
        };
        owners
            .iter()
            .map(|owner| owner.uid.clone())
            .filter(waits)
            .collect()
    }

    fn unlink(&mut self, uid: &str, owners: &[OwnerReference]) {
        for owner in owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}
