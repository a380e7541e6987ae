//! Histories of two stores on one etcd whose members die and hang: every operation is recorded with
//! its beginning and its end, and the whole is checked against what one single copy would have done.
//!
//! Revisions make the check simple and complete: they say in which order the writes of a key happened,
//! so that only three things can be wrong. A read shows a revision with another value than was written
//! at it; an operation that began after another one had ended shows an older revision; or a watch
//! missed, repeated or reordered what was written.

#[path = "support/etcd.rs"]
mod etcd;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use naru_control::store::{
    Change, Encryption, EtcdConfig, EventType, Resource, ResourceDef, Store, Watcher, WriteError,
};
use serde_json::{Value, json};

const DEFS: &[ResourceDef] = &[ResourceDef {
    group: "",
    plural: "registers",
    fields: &[],
    paths: &[],
}];
const REGISTERS: Resource = Resource(0);
/// Few, so that writers meet.
const KEYS: u64 = 4;
const WRITERS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(120);

/// What an operation found or made.
#[derive(Clone, PartialEq, Debug)]
enum Seen {
    /// There was nothing under the key.
    Nothing,
    /// This value at this revision.
    Value(u64, u64),
    /// The key was deleted at this revision.
    Deleted(u64),
}

/// An operation whose outcome is known.
#[derive(Clone, Debug)]
struct Operation {
    key: String,
    begun: Instant,
    ended: Instant,
    write: bool,
    seen: Seen,
}

/// A change as a watcher sees it.
#[derive(Clone, PartialEq, Debug)]
struct Shown {
    revision: u64,
    key: String,
    event: EventType,
    value: u64,
}

async fn open(etcd: &etcd::Etcd) -> Store {
    let config = EtcdConfig {
        cluster: naru_etcd::Config {
            servers: etcd.servers(),
            ..naru_etcd::Config::default()
        },
        prefix: "/histories".to_owned(),
    };
    let opened = Store::open_etcd(&config, DEFS, Encryption::default()).await;
    opened.unwrap()
}

fn value(object: &Value) -> u64 {
    object["value"].as_u64().expect("a number")
}

/// One client of a store, and what it has done.
struct Client {
    store: Store,
    number: u64,
    done: u64,
    history: Vec<Operation>,
    /// Writes that may or may not have happened, by the value that they wrote.
    open: Vec<u64>,
}

impl Client {
    async fn run(mut self, going: Arc<AtomicBool>) -> Self {
        while going.load(Ordering::Relaxed) {
            let key = format!("k{}", (self.done * 7 + self.number) % KEYS);
            self.read(&key).await;
            self.write(&key).await;
            self.done += 1;
        }
        self
    }

    async fn read(&mut self, key: &str) {
        let begun = Instant::now();
        if self.store.fresh().await.is_err() {
            return;
        }
        let seen = match self.store.get(REGISTERS, key) {
            None => Seen::Nothing,
            Some(object) => Seen::Value(value(&object.value()), object.revision),
        };
        self.note(key, begun, false, seen);
    }

    /// Writes a value that nobody else writes, over whatever is shown; deletes now and then.
    async fn write(&mut self, key: &str) {
        let unique = self.number * 1_000_000 + self.done;
        let draft = |value: u64| {
            let object = json!({"metadata": {"name": key}, "value": value});
            self.store.draft(REGISTERS, &object)
        };
        let shown = self.store.get(REGISTERS, key);
        let deletes = self.done % 5 == 4;
        let change = match &shown {
            None => Change::Create(draft(unique)),
            Some(shown) if deletes => Change::Delete(draft(value(&shown.value())), shown.revision),
            Some(shown) => Change::Update(draft(unique), shown.revision),
        };
        let deletes = matches!(change, Change::Delete(..));
        let begun = Instant::now();
        let written = self.store.write(REGISTERS, key.into(), change).await;
        match written {
            Ok(object) if deletes => self.note(key, begun, true, Seen::Deleted(object.revision)),
            Ok(object) => self.note(key, begun, true, Seen::Value(unique, object.revision)),
            Err(WriteError::Unanswered(_)) if !deletes => self.open.push(unique),
            // It did not happen, or it was a deletion, which leaves no value to be found.
            Err(_) => {}
        }
    }

    fn note(&mut self, key: &str, begun: Instant, write: bool, seen: Seen) {
        self.history.push(Operation {
            key: key.to_owned(),
            begun,
            ended: Instant::now(),
            write,
            seen,
        });
    }
}

/// Follows a store from its beginning until a revision.
async fn follow(mut watcher: Watcher, until: u64) -> Vec<Shown> {
    let mut changes = Vec::new();
    loop {
        let (events, complete) = watcher.poll().expect("the log is long enough");
        changes.extend(events.iter().map(|event| Shown {
            revision: event.object.revision,
            key: event.key.to_string(),
            event: event.event,
            value: value(&event.object.value()),
        }));
        if complete.is_some_and(|revision| revision >= until) {
            return changes;
        }
        if complete.is_some() {
            let changed = tokio::time::timeout(Duration::from_secs(1), watcher.changed());
            let _ = changed.await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_on_an_etcd_whose_leaders_die_and_hang_act_as_one() {
    let Some(mut etcd) = etcd::Etcd::start(3) else {
        return;
    };
    let stores = [open(&etcd).await, open(&etcd).await];
    let watchers = stores
        .clone()
        .map(|store| store.watch(REGISTERS, 1).unwrap());
    let going = Arc::new(AtomicBool::new(true));
    let clients = (0..WRITERS).map(|number| {
        let client = Client {
            store: stores[(number % 2) as usize].clone(),
            number,
            done: 0,
            history: Vec::new(),
            open: Vec::new(),
        };
        tokio::spawn(client.run(going.clone()))
    });
    let clients: Vec<_> = clients.collect();
    for round in 0..6 {
        more(&stores[0], &etcd).await;
        let leader = etcd.leader();
        if round % 2 == 0 {
            etcd.kill(leader);
            more(&stores[1], &etcd).await;
            etcd.restart(leader);
        } else {
            etcd.hold(leader, true);
            more(&stores[1], &etcd).await;
            etcd.hold(leader, false);
        }
    }
    going.store(false, Ordering::Relaxed);
    etcd.wait_healthy();
    let (mut history, mut open) = (Vec::new(), Vec::new());
    for client in clients {
        let client = client.await.unwrap();
        history.extend(client.history);
        open.extend(client.open);
    }
    for store in &stores {
        store.fresh().await.unwrap();
    }
    let until = stores[0].revision().min(stores[1].revision());
    let [one, other] = watchers;
    let (one, other) = (follow(one, until).await, follow(other, until).await);
    assert!(
        history.iter().filter(|it| it.write).count() > 500,
        "too little was written"
    );
    println!(
        "{} operations, {} of unknown outcome",
        history.len(),
        open.len()
    );
    assert_eq!(one, other, "the watches of two stores differ");
    check_watch(&one, &history, &open);
    check_order(&one, &history);
}

/// Returns when fifty more writes are shown.
async fn more(store: &Store, etcd: &etcd::Etcd) {
    let wanted = store.revision() + 50;
    store.reach(wanted, PATIENCE).await;
    let shown = store.revision();
    assert!(
        shown >= wanted,
        "shown is {shown}, not {wanted}: {}",
        etcd.said()
    );
}

/// What was acknowledged was seen once, at its revision; and nothing was seen that nobody wrote.
fn check_watch(changes: &[Shown], history: &[Operation], open: &[u64]) {
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
fn check_order(changes: &[Shown], history: &[Operation]) {
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
