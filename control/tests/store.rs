//! The store against sudden death and a full disk.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use naru_control::store::{Change, Resource, ResourceDef, Store, WriteError};
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
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let store = runtime().block_on(reopen(Path::new(&path)));
    let start = store.revision();
    runtime().block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..16 {
            let store = store.clone();
            writers.spawn(async move {
                for index in 0.. {
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
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut acknowledged = Vec::new();
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        // A different number every round, so that death comes at different moments.
        while seen < 100 + round * 37 {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, name)) = line.split_once("acknowledged ") {
                acknowledged.push(name.to_owned());
                seen += 1;
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
        if let Some(last) = acknowledged.pop() {
            drop(last);
        }
        let store = runtime().block_on(reopen(&path));
        for name in &acknowledged {
            assert!(
                store.get(THINGS, name).is_some(),
                "{name} is lost in round {round}"
            );
        }
    }
}

#[test]
fn concurrent_creations_of_one_name_have_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), DEFS).unwrap();
    let winners = runtime().block_on(async {
        let mut attempts = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            attempts.spawn(async move { create(&store, "one", 10).await.is_ok() });
        }
        attempts
            .join_all()
            .await
            .into_iter()
            .filter(|won| *won)
            .count()
    });
    assert_eq!(winners, 1);
}

#[test]
fn a_watch_sees_every_write_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), DEFS).unwrap();
    runtime().block_on(async {
        let mut watcher = store.watch(THINGS, store.revision()).unwrap();
        let writer = tokio::spawn({
            let store = store.clone();
            async move {
                for index in 0..500 {
                    create(&store, &format!("o{index:03}"), 10).await.unwrap();
                }
            }
        });
        let mut keys: Vec<Arc<str>> = Vec::new();
        while keys.len() < 500 {
            let (events, complete) = watcher.poll().unwrap();
            keys.extend(events.into_iter().map(|event| event.key));
            if complete.is_some() && keys.len() < 500 {
                assert!(watcher.changed().await);
            }
        }
        writer.await.unwrap();
        let expected: Vec<Arc<str>> = (0..500)
            .map(|index| format!("o{index:03}").into())
            .collect();
        assert_eq!(keys, expected);
    });
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
