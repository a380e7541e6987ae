//! Many uids in few bytes.

use std::collections::HashSet;

use uuid::Uuid;

use super::uid::Uid;

/// A set of uids. Nearly all are UUIDs; beside the others each would take half as much again.
#[derive(Debug, Default)]
pub struct Uids {
    uuids: HashSet<Uuid>,
    texts: HashSet<Box<str>>,
}

impl Uids {
    /// Adds one.
    pub fn insert(&mut self, uid: Uid) {
        match uid {
            Uid::Uuid(uuid) => self.uuids.insert(uuid),
            Uid::Text(text) => self.texts.insert(text),
        };
    }

    /// Takes one out; whether it was in.
    pub fn remove(&mut self, uid: &Uid) -> bool {
        match uid {
            Uid::Uuid(uuid) => self.uuids.remove(uuid),
            Uid::Text(text) => self.texts.remove(text),
        }
    }

    /// Whether it is in.
    pub fn contains(&self, uid: &Uid) -> bool {
        match uid {
            Uid::Uuid(uuid) => self.uuids.contains(uuid),
            Uid::Text(text) => self.texts.contains(text),
        }
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Uid> {
        let uuids = self.uuids.iter().map(|uuid| Uid::Uuid(*uuid));
        uuids.chain(self.texts.iter().map(|text| Uid::Text(text.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_in_as_it_is_spelled() {
        let usual = "6f1f7a0a-8f0e-4b43-a3bd-9e9d5ac0a1b2";
        let [one, other] = [usual, "x"].map(Uid::from);
        let mut uids = Uids::default();
        uids.insert(one.clone());
        uids.insert(other.clone());
        assert!(uids.contains(&one) && uids.contains(&other));
        assert!(!uids.contains(&usual.to_uppercase().as_str().into()));
        let mut all: Vec<_> = uids.iter().map(|uid| uid.to_string()).collect();
        all.sort();
        assert_eq!(all, [usual, "x"]);
        assert!(uids.remove(&one) && uids.remove(&other));
        assert!(!uids.remove(&one));
        assert_eq!(uids.iter().count(), 0);
    }
}
