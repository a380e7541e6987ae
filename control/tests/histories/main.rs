//! Histories of two stores on one etcd whose members die, hang and are cut off: every operation is recorded with
//! its beginning and its end, and the whole is checked against what one single copy would have done.
//!
//! Revisions make the check simple and complete: they say in which order the writes of a key happened,
//! so that only three things can be wrong. A read shows a revision with another value than was written
//! at it; an operation that began after another one had ended shows an older revision; or a watch
//! missed, repeated or reordered what was written.

#[path = "../support/apart.rs"]
mod apart;
mod check;
#[path = "../support/etcd.rs"]
mod etcd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use check::{check_order, check_watch};
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
            key: event.object.key().to_owned(),
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
    let history = History::begin(&etcd).await;
    for round in 0..6 {
        history.more(0, &etcd).await;
        let leader = etcd.leader();
        if round % 2 == 0 {
            etcd.kill(leader);
            history.more(1, &etcd).await;
            etcd.restart(leader);
        } else {
            etcd.hold(leader, true);
            history.more(1, &etcd).await;
            etcd.hold(leader, false);
        }
    }
    history.end(&etcd).await;
}

#[test]
fn stores_on_an_etcd_whose_leaders_are_cut_off_act_as_one() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let apart = apart::Apart::new(3);
    apart.inside(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(are_cut_off(&apart));
    });
}

async fn are_cut_off(apart: &apart::Apart) {
    let places = (0..3).map(|index| (apart.netns(index), apart.address(index)));
    let Some(etcd) = etcd::Etcd::start_at(places) else {
        return;
    };
    let history = History::begin(&etcd).await;
    for round in 0..6 {
        history.more(0, &etcd).await;
        let leader = etcd.leader();
        apart.cut(leader, true);
        // Those whose member it was, and those whose member goes with the majority.
        history.more(0, &etcd).await;
        history.more(1, &etcd).await;
        if round % 2 == 0 {
            let other = (leader + 1) % 3;
            apart.cut(leader, false);
            etcd.wait_healthy();
            history.more(1, &etcd).await;
            // One that follows, and comes back behind.
            apart.cut(other, true);
            history.more(0, &etcd).await;
            apart.cut(other, false);
        } else {
            apart.cut(leader, false);
        }
        etcd.wait_healthy();
    }
    history.end(&etcd).await;
}

/// Two stores, their watches, and clients that write to both.
struct History {
    stores: [Store; 2],
    watchers: [Watcher; 2],
    going: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Client>>,
}

impl History {
    async fn begin(etcd: &etcd::Etcd) -> Self {
        let stores = [open(etcd).await, open(etcd).await];
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
        Self {
            clients: clients.collect(),
            stores,
            watchers,
            going,
        }
    }

    /// Returns when fifty more writes are shown by a store.
    async fn more(&self, store: usize, etcd: &etcd::Etcd) {
        let store = &self.stores[store];
        let wanted = store.revision() + 50;
        store.reach(wanted, PATIENCE).await;
        let shown = store.revision();
        assert!(
            shown >= wanted,
            "shown is {shown}, not {wanted}: {}",
            etcd.said()
        );
    }

    /// Ends the clients and checks what they did and what was watched.
    async fn end(self, etcd: &etcd::Etcd) {
        self.going.store(false, Ordering::Relaxed);
        etcd.wait_healthy();
        let (mut history, mut open) = (Vec::new(), Vec::new());
        for client in self.clients {
            let client = client.await.unwrap();
            history.extend(client.history);
            open.extend(client.open);
        }
        for store in &self.stores {
            store.fresh().await.unwrap();
        }
        let [one, other] = &self.stores;
        let until = one.revision().min(other.revision());
        let [one, other] = self.watchers;
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
}
