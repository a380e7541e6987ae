//! What a history of operations and what watches saw of it must have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use naru_control::store::EventType;

use crate::{Operation, Seen, Shown};

/// What was acknowledged was seen once, at its revision; and nothing was seen that nobody wrote.
pub(crate) fn check_watch(changes: &[Shown], history: &[Operation], open: &[u64]) {
    assert!(
        changes
            .windows(2)
            .all(|two| two[0].revision < two[1].revision),
        "a watch went back, or repeated something"
    );
    let by_revision: BTreeMap<u64, &Shown> = changes
        .iter()
        .map(|change| (change.revision, change))
        .collect();
    let mut acknowledged = BTreeSet::new();
    for operation in history.iter().filter(|it| it.write) {
        let revision = match operation.seen {
            Seen::Value(value, revision) => {
                let change = by_revision.get(&revision);
                let change = change.unwrap_or_else(|| panic!("not watched: {operation:?}"));
                assert_eq!((change.value, &change.key), (value, &operation.key));
                revision
            }
            Seen::Deleted(revision) => {
                let change = by_revision.get(&revision);
                let change = change.unwrap_or_else(|| panic!("not watched: {operation:?}"));
                assert_eq!(change.event, EventType::Deleted, "{operation:?}");
                revision
            }
            Seen::Nothing => unreachable!("a write makes something"),
        };
        assert!(
            acknowledged.insert(revision),
            "acknowledged twice: {revision}"
        );
    }
    for change in changes.iter().filter(|it| it.event != EventType::Deleted) {
        let known = acknowledged.contains(&change.revision) || open.contains(&change.value);
        assert!(known, "nobody wrote {change:?}");
    }
}

/// Reads show what was written at their revision, and nobody goes back: what began after something
/// had ended shows its revision or a later one.
pub(crate) fn check_order(changes: &[Shown], history: &[Operation]) {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, mut operations) in keys {
        let states: Vec<_> = changes.iter().filter(|change| change.key == key).collect();
        operations.sort_by_key(|operation| operation.begun);
        // What each that has begun shows, by its end.
        let mut shown: BTreeMap<(Instant, usize), u64> = BTreeMap::new();
        // The newest revision that anybody had been shown before.
        let mut floor = 0;
        for (number, operation) in operations.into_iter().enumerate() {
            let later = shown.split_off(&(operation.begun, 0));
            let before = std::mem::replace(&mut shown, later);
            floor = before.into_values().fold(floor, u64::max);
            let shows = newest(&operation.seen, &states, floor);
            shown.insert((operation.ended, number), shows);
            assert!(shows >= floor, "{operation:?} goes back behind {floor}");
            if let Seen::Value(value, revision) = operation.seen {
                let state = states.iter().find(|state| state.revision == revision);
                let state = state.unwrap_or_else(|| panic!("never written: {operation:?}"));
                assert_eq!(state.value, value, "{operation:?}");
                let written = state.event != EventType::Deleted;
                assert!(written, "{operation:?} shows what is deleted");
            }
        }
    }
}

/// The revision that an operation shows. That there is nothing is so from the beginning until the
/// first creation, and from each deletion until the next one: the first such state at or after `floor`
/// is the most lenient reading of it.
fn newest(seen: &Seen, states: &[&Shown], floor: u64) -> u64 {
    match seen {
        Seen::Value(_, revision) | Seen::Deleted(revision) => *revision,
        Seen::Nothing => {
            let current = states.iter().rev().find(|state| state.revision <= floor);
            if current.is_none_or(|state| state.event == EventType::Deleted) {
                return floor;
            }
            let next = states
                .iter()
                .find(|state| state.revision > floor && state.event == EventType::Deleted);
            next.map_or(0, |state| state.revision)
        }
    }
}

/// The check itself: a history of one key, of which `extra` is a part.
fn checked(extra: impl Fn(Instant) -> Operation) -> bool {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let changes = [(2, 20), (4, 40)].map(|(revision, value)| Shown {
        revision,
        key: "k".to_owned(),
        event: EventType::Modified,
        value,
    });
    let write = |value, revision, from| Operation {
        key: "k".to_owned(),
        begun: at(from),
        ended: at(from + 10),
        write: true,
        seen: Seen::Value(value, revision),
    };
    let history = [write(20, 2, 0), write(40, 4, 100), extra(start)];
    let check = || {
        check_watch(&changes, &history, &[]);
        check_order(&changes, &history);
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
}

#[test]
fn the_check_finds_what_one_copy_would_not_have_done() {
    let read = |from, seen: Seen| {
        move |start: Instant| Operation {
            key: "k".to_owned(),
            begun: start + Duration::from_millis(from),
            ended: start + Duration::from_millis(from + 5),
            write: false,
            seen: seen.clone(),
        }
    };
    assert!(checked(read(50, Seen::Value(20, 2))));
    assert!(
        checked(read(105, Seen::Value(20, 2))),
        "the write is under way"
    );
    assert!(
        checked(read(105, Seen::Value(40, 4))),
        "it may be shown already"
    );
    assert!(!checked(read(120, Seen::Value(20, 2))), "it is old");
    assert!(
        !checked(read(120, Seen::Value(20, 4))),
        "nobody wrote it there"
    );
    assert!(!checked(read(50, Seen::Nothing)), "it was there");
    let lost = |start| Operation {
        write: true,
        ..read(130, Seen::Value(60, 6))(start)
    };
    assert!(!checked(lost), "no watch has seen it");
}
