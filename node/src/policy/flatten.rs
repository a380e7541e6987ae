//! Tiers, flattened into entries of the policy map.
//!
//! The map knows no order of rules, only that an exact key comes before a wildcard. So every class of
//! addresses is judged here once and for all, port by port (`tiers`), and gets the whole of its table
//! under its own identity, where it hides the wildcard's, or nothing, if its table is the wildcard's.
//!
//! The wildcard has the table of those whom no policy tells apart, or, where that saves many entries,
//! the one that most classes share.

use std::collections::{BTreeMap, HashMap};

use naru_ebpf_common::ipcache::{IDENTITY_ANY, IDENTITY_REMOTE_NODE, IDENTITY_WORLD};
use naru_ebpf_common::policy::{EGRESS, INGRESS};
use naru_ebpf_common::{PolicyEntry, PolicyKey, Port};

use super::compile::{Subject, World};
use super::direction::Direction;
use super::tiers::{EVERYTHING, Entry, ISOLATED, Tiers, Word};
use crate::watches::PodPort;

/// Those whom no policy tells apart; they are no classes of the world.
const NOBODY: [u32; 2] = [IDENTITY_WORLD, IDENTITY_REMOTE_NODE];
/// How many entries another wildcard than theirs has to save.
const WORTH: usize = 512;

/// Tables, and the identities that have them.
type Tables = BTreeMap<Vec<Entry>, Vec<u32>>;

/// The entries of one direction of the subject.
pub(super) fn flatten(
    direction: &Direction<'_>,
    subject: Subject<'_>,
    world: &World<'_>,
) -> HashMap<PolicyKey, PolicyEntry> {
    let nobody = Tiers::of(
        direction,
        None,
        named(direction, subject, world, None),
        world,
    );
    let mut asked: BTreeMap<Tiers, Vec<u32>> = BTreeMap::new();
    for (class, identity) in world.classes {
        let named = named(direction, subject, world, Some(*identity));
        let tiers = Tiers::of(direction, Some(class), named, world);
        asked.entry(tiers).or_default().push(*identity);
    }
    let nobodys = nobody.entries();
    asked.entry(nobody).or_default().extend(NOBODY);
    let mut tables = Tables::new();
    for (tiers, identities) in asked {
        tables
            .entry(tiers.entries())
            .or_default()
            .extend(identities);
    }
    let wildcard = wildcard(&tables, &nobodys).clone();
    tables.remove(&wildcard);
    // What no entry allows is dropped anyway, and then called by its name.
    let is_closed = wildcard == [(EVERYTHING, ISOLATED)];
    let is_needed = |identity: u32, (at, word): Entry| {
        let as_without = is_closed || identity == IDENTITY_ANY;
        !(as_without && (at, word) == (EVERYTHING, ISOLATED))
    };
    tables.insert(wildcard, vec![IDENTITY_ANY]);
    let mut entries = HashMap::new();
    for (table, identities) in &tables {
        for identity in identities {
            let needed = table.iter().filter(|entry| is_needed(*identity, **entry));
            entries.extend(needed.map(|entry| written(direction, subject, *identity, *entry)));
        }
    }
    entries
}

fn written(
    direction: &Direction<'_>,
    subject: Subject<'_>,
    identity: u32,
    ((protocol, port), Word { verdict, rule }): Entry,
) -> (PolicyKey, PolicyEntry) {
    let key = PolicyKey {
        endpoint: subject.endpoint,
        identity,
        port: Port::new(port),
        protocol,
        direction: if direction.egress { EGRESS } else { INGRESS },
    };
    (key, PolicyEntry { verdict, rule })
}

/// Ports by name: the subject's own on the way in, those of whom it calls on the way out.
fn named<'a>(
    direction: &Direction<'_>,
    subject: Subject<'a>,
    world: &World<'a>,
    peer: Option<u32>,
) -> &'a [PodPort] {
    if !direction.egress {
        return subject.ports;
    }
    let called = peer.and_then(|identity| world.ports.get(&identity));
    called.map_or(&[], Vec::as_slice)
}

/// The table of all who get none of their own. As the wildcard's, a table is there once instead of as
/// often as there are identities that have it.
fn wildcard<'a>(tables: &'a Tables, nobodys: &'a Vec<Entry>) -> &'a Vec<Entry> {
    let saved = |table: &Vec<Entry>| {
        let identities = tables.get(table).map_or(0, Vec::len);
        table.len() * identities.saturating_sub(1)
    };
    match tables.keys().max_by_key(|table| saved(table)) {
        Some(most) if saved(most) > saved(nobodys) + WORTH => most,
        _ => nobodys,
    }
}
