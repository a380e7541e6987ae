//! The store on each of its back ends: sudden death, competing writers, watches, a full disk.

#[path = "support/etcd.rs"]
mod etcd;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use naru_control::store::{
    Change, Encryption, EtcdConfig, Event, EventType, Resource, ResourceDef, Store, Watcher,
    WriteError,
};
use serde_json::json;

const DEFS: &[ResourceDef] = &[ResourceDef {
    group: "",
    plural: "things",
    fields: &[],
    paths: &[],
}];
const THINGS: Resource = Resource(0);
/// Set for the child that writes until it is killed.
const CHILD: &str = "NARU_TEST_STORE";

/// Where a store is kept.
enum Place {
    Embedded(
        PathBuf,
        #[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir,
    ),
    Etcd(etcd::Etcd),
}

impl Place {
    /// A place of either kind; etcd only where there is one, which is said.
    fn each() -> Vec<Self> {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Self::Embedded(dir.path().join("store.redb"), dir);
        let etcd = etcd::Etcd::start(1).map(Self::Etcd);
        std::iter::once(embedded).chain(etcd).collect()
    }

    /// By which [`open_at`] finds it.
    fn address(&self) -> String {
        match self {
            Self::Embedded(path, _) => path.to_str().unwrap().to_owned(),
            Self::Etcd(etcd) => etcd.servers().join(","),
        }
    }

    async fn open(&self) -> Store {
        open_at(&self.address()).await
    }
}

async fn open_at(address: &str) -> Store {
    if address.starts_with('/') {
        return reopen(Path::new(address)).await;
    }
    let config = EtcdConfig {
        cluster: naru_etcd::Config {
            servers: address.split(',').map(str::to_owned).collect(),
            ..naru_etcd::Config::default()
        },
        prefix: "/test".to_owned(),
    };
    let opened = Store::open_etcd(&config, DEFS, Encryption::default()).await;
    opened.unwrap()
}

async fn create(store: &Store, name: &str, bytes: usize) -> Result<(), WriteError> {
    let object = json!({"metadata": {"name": name}, "data": "x".repeat(bytes)});
    let draft = store.draft(THINGS, &object);
    store
        .write(THINGS, name.into(), Change::Create(draft))
        .await
        .map(drop)
}

async fn delete(store: &Store, name: &str) -> Result<(), WriteError> {
    let stored = store.get(THINGS, name).expect("it was acknowledged");
    let draft = store.draft(THINGS, &stored.value());
    let change = Change::Delete(draft, stored.revision);
    store.write(THINGS, name.into(), change).await.map(drop)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Not a test of its own: the process that [`kill_9_loses_no_acknowledged_write`] kills.
#[test]
fn writer_child() {
    let Ok(address) = std::env::var(CHILD) else {
        return;
    };
    runtime().block_on(async {
        let store = open_at(&address).await;
        let start = store.revision();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..16 {
            let store = store.clone();
            writers.spawn(async move {
                for index in 0..u32::MAX {
                    let name = format!("{start}-{writer}-{index}");
                    create(&store, &name, 200).await.unwrap();
                    println!("acknowledged {name}");
                }
            });
        }
        writers.join_next().await;
    });
}

#[test]
fn kill_9_loses_no_acknowledged_write() {
    for place in Place::each() {
        let address = place.address();
        let mut acknowledged = Vec::new();
        for round in 0..15 {
            acknowledged.extend(written_until_killed(&address, 100 + round * 37));
            // A runtime of its own for each store: the file is let go of with its last task.
            runtime().block_on(async {
                let store = open_at(&address).await;
                for name in &acknowledged {
                    assert!(
                        store.get(THINGS, name).is_some(),
                        "{name} is lost in round {round} at {address}"
                    );
                }
            });
        }
    }
}

/// What a process has acknowledged until it was killed, a bit after `enough` writes.
fn written_until_killed(address: &str, enough: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_child", "--nocapture"])
        .env(CHILD, address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while acknowledged.len() < enough {
        let line = lines.next().unwrap().unwrap();
        if let Some((_, name)) = line.split_once("acknowledged ") {
            acknowledged.push(name.to_owned());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = lines.map_while(Result::ok);
    acknowledged.extend(rest.filter_map(|line| {
        let name = line.split_once("acknowledged ")?.1;
        // The last line may be cut off.
        (name.matches('-').count() == 2 && !name.ends_with('-')).then(|| name.to_owned())
    }));
    acknowledged.pop();
    acknowledged
}

#[test]
fn concurrent_creations_of_one_name_have_one_winner() {
    for place in Place::each() {
        let winners = runtime().block_on(async {
            let store = place.open().await;
            let mut attempts = tokio::task::JoinSet::new();
            for _ in 0..50 {
                let store = store.clone();
                attempts.spawn(async move { create(&store, "one", 10).await });
            }
            let outcomes = attempts.join_all().await;
            let lost = |it: &Result<(), WriteError>| matches!(it, Err(WriteError::Exists));
            assert_eq!(outcomes.iter().filter(|it| lost(it)).count(), 49);
            outcomes.into_iter().filter(Result::is_ok).count()
        });
        assert_eq!(winners, 1);
    }
}

#[test]
fn a_write_over_another_revision_is_a_conflict_and_changes_nothing() {
    for place in Place::each() {
        runtime().block_on(async {
            let store = place.open().await;
            create(&store, "x", 10).await.unwrap();
            let first = store.get(THINGS, "x").unwrap();
            let change = |expected| {
                let draft = store.draft(THINGS, &json!({"metadata": {"name": "x"}, "data": "new"}));
                store.write(THINGS, "x".into(), Change::Update(draft, expected))
            };
            let second = change(first.revision).await.unwrap();
            assert!(second.revision > first.revision);
            let current = second.revision;
            match change(first.revision).await {
                Err(WriteError::Conflict { current: told }) => assert_eq!(told, current),
                other => panic!("{:?}", other.err()),
            }
            assert_eq!(store.get(THINGS, "x").unwrap().json(), second.json());
            let draft = store.draft(THINGS, &first.value());
            let stale = Change::Delete(draft, first.revision);
            let stale = store.write(THINGS, "x".into(), stale).await;
            assert!(matches!(stale, Err(WriteError::Conflict { .. })));
            delete(&store, "x").await.unwrap();
            assert!(store.get(THINGS, "x").is_none());
            assert!(matches!(change(current).await, Err(WriteError::Missing)));
        });
    }
}

#[test]
fn a_watch_sees_every_write_in_order() {
    for place in Place::each() {
        runtime().block_on(async {
            let store = place.open().await;
            let mut watcher = store.watch(THINGS, store.revision()).unwrap();
            let writer = tokio::spawn({
                let store = store.clone();
                async move {
                    for index in 0..500 {
                        create(&store, &format!("o{index:03}"), 10).await.unwrap();
                    }
                }
            });
            let seen = events(&mut watcher, 500).await;
            writer.await.unwrap();
            let keys: Vec<_> = seen
                .iter()
                .map(|event| event.object.key().to_owned())
                .collect();
            let expected: Vec<String> = (0..500).map(|index| format!("o{index:03}")).collect();
            assert_eq!(keys, expected);
        });
    }
}

/// So many events, as they come.
async fn events(watcher: &mut Watcher, count: usize) -> Vec<Event> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let (events, complete) = watcher.poll().unwrap();
        seen.extend(events);
        if complete.is_some() && seen.len() < count {
            assert!(watcher.changed().await);
        }
    }
    seen
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=20m", "naru-test-store"])
            .arg(dir.path())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_corrupts_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        return;
    };
    let path = disk.0.path().join("store.redb");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1_u8; 7 << 20]).unwrap();
    let store = Store::open(&path, DEFS).unwrap();
    runtime().block_on(async {
        let (mut written, mut deleted) = (Vec::new(), Vec::new());
        let error = loop {
            let name = format!("o{}", written.len());
            match create(&store, &name, 20_000).await {
                Ok(()) => written.push(name),
                Err(error) => break error,
            }
            assert!(written.len() < 1000, "the disk never fills");
        };
        assert!(matches!(error, WriteError::Full), "{error}");
        for name in written.drain(..20) {
            delete(&store, &name)
                .await
                .expect("a deletion needs little");
            deleted.push(name);
        }
        let again = create(&store, "again", 8_000_000).await;
        assert!(again.is_err(), "it is still full");
        assert!(written.iter().all(|name| store.get(THINGS, name).is_some()));
        std::fs::remove_file(&ballast).unwrap();
        create(&store, "after", 20_000)
            .await
            .expect("there is space again");
        written.push("after".into());
        drop(store);
        let reopened = reopen(&path).await;
        assert!(
            written
                .iter()
                .all(|name| reopened.get(THINGS, name).is_some())
        );
        assert!(reopened.get(THINGS, "again").is_none());
        assert!(
            deleted
                .iter()
                .all(|name| reopened.get(THINGS, name).is_none())
        );
    });
}

/// The committer of the dropped store lets go of the file a moment later.
async fn reopen(path: &Path) -> Store {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match Store::open(path, DEFS) {
            Ok(store) => return store,
            Err(error) => assert!(tokio::time::Instant::now() < end, "{error:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn stores_on_one_etcd_see_each_others_writes_at_once_and_alike() {
    let Some(etcd) = etcd::Etcd::start(3) else {
        return;
    };
    let address = etcd.servers().join(",");
    runtime().block_on(async {
        let (one, other) = (open_at(&address).await, open_at(&address).await);
        let mut watchers = [&one, &other].map(|store| store.watch(THINGS, 1).unwrap());
        for index in 0..100 {
            let name = format!("o{index}");
            let (here, there) = if index % 2 == 0 {
                (&one, &other)
            } else {
                (&other, &one)
            };
            create(here, &name, 10).await.unwrap();
            there.fresh().await.unwrap();
            let (mine, theirs) = (here.get(THINGS, &name), there.get(THINGS, &name));
            assert_eq!(
                mine.unwrap().json(),
                theirs.expect("it was acknowledged").json()
            );
            let stored = there.get(THINGS, &name).unwrap();
            let draft = there.draft(THINGS, &stored.value());
            let update = Change::Update(draft, stored.revision);
            there
                .write(THINGS, name.as_str().into(), update)
                .await
                .unwrap();
            here.fresh().await.unwrap();
            delete(here, &name).await.unwrap();
        }
        let [seen, also] = &mut watchers;
        let (seen, also) = (events(seen, 300).await, events(also, 300).await);
        let line = |event: &Event| event.object.line(event.event);
        assert_eq!(
            seen.iter().map(line).collect::<Vec<_>>(),
            also.iter().map(line).collect::<Vec<_>>()
        );
        let kinds: Vec<_> = seen.iter().take(3).map(|event| event.event).collect();
        assert_eq!(
            kinds,
            [EventType::Added, EventType::Modified, EventType::Deleted]
        );
        assert!(seen.is_sorted_by_key(|event| event.object.revision));
    });
}

#[test]
fn a_member_of_etcd_that_dies_or_hangs_costs_no_acknowledged_write() {
    let Some(mut etcd) = etcd::Etcd::start(3) else {
        return;
    };
    let address = etcd.servers().join(",");
    runtime().block_on(async {
        let store = open_at(&address).await;
        let writing = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let writers = (0..8).map(|writer| {
            let (store, writing) = (store.clone(), writing.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for index in 0..u32::MAX {
                    if !writing.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("{writer}-{index}");
                    // What fails meanwhile may or may not have happened.
                    if create(&store, &name, 50).await.is_ok() {
                        acknowledged.push(name);
                    }
                }
                acknowledged
            })
        });
        let writers: Vec<_> = writers.collect();
        for round in 0..4 {
            written_more(&store).await;
            let leader = etcd.leader();
            if round % 2 == 0 {
                etcd.kill(leader);
                written_more(&store).await;
                etcd.restart(leader);
            } else {
                etcd.hold(leader, true);
                written_more(&store).await;
                etcd.hold(leader, false);
            }
        }
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
        etcd.wait_healthy();
        store.fresh().await.unwrap();
        let afresh = open_at(&address).await;
        for writer in writers {
            for name in writer.await.unwrap() {
                let kept = store.get(THINGS, &name).map(|it| it.json());
                assert!(kept.is_some(), "{name} is lost");
                assert_eq!(kept, afresh.get(THINGS, &name).map(|it| it.json()));
            }
        }
        let (all, fresh) = (store.snapshot(THINGS), afresh.snapshot(THINGS));
        assert!(all.objects.keys().eq(fresh.objects.keys()));
    });
}

/// Returns when a hundred more writes are shown.
async fn written_more(store: &Store) {
    let wanted = store.revision() + 100;
    let patience = std::time::Duration::from_secs(60);
    store.reach(wanted, patience).await;
    assert!(store.revision() >= wanted, "writes do not go on");
}
