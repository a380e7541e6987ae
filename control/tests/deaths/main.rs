//! A server that dies by SIGKILL under 64 writers, again and again, and what nobody may ever find:
//! an acknowledged write that is not there, a version that goes back, a watch that missed or repeated
//! something, or that has shown what is lost (`record`).

#[path = "../support/etcd.rs"]
mod etcd;
mod record;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::record::{Deed, Found, Life, Record, State};
use self::support::http::try_send;
use self::support::{Control, eventually};
use self::writer::{Writer, object};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WRITERS: usize = 64;
/// Each is incremented by a quarter of the writers.
const COUNTERS: usize = 4;

/// How often a server dies; `NARU_DEATHS` says otherwise.
fn deaths() -> usize {
    let wanted = std::env::var("NARU_DEATHS").ok();
    wanted.map_or(40, |wanted| {
        wanted.parse().expect("NARU_DEATHS is a number")
    })
}

fn counters() -> impl Iterator<Item = String> {
    (0..COUNTERS).map(|number| format!("counter-{number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_over_the_embedded_store_lose_nothing() {
    survives(Control::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_over_etcd_lose_nothing() {
    let Some(etcd) = etcd::Etcd::start(1) else {
        return;
    };
    let flag = format!("--etcd-servers={}", etcd.servers().join(","));
    survives(Control::start(&[&flag]).await).await;
}

async fn survives(mut control: Control) {
    for counter in counters() {
        let zero = object(&counter, 0, None);
        control.post(MAPS, &zero).await.expect(201);
    }
    let mut record = Record::of(counters());
    let deaths = deaths();
    for death in 0..deaths {
        let found = found(&control).await;
        record.check(&found);
        let since = format!("{MAPS}?watch=1&resourceVersion={}", found.version);
        let watch = control.watch(&since, "*/*").await;
        let watched = tokio::spawn(watch.until_death());
        // From the first write to some hundreds later, while others are under way.
        let lives = until_killed(&mut control, &found, death, death * 37 % 300).await;
        record.lived(lives, &watched.await.unwrap());
        control.start_again().await;
    }
    record.check(&found(&control).await);
    println!("{deaths} deaths, {record}");
    let written = record.acknowledged();
    assert!(written > deaths * 50, "too little was written: {written}");
}

/// What there is, once the server says so.
async fn found(control: &Control) -> Found {
    eventually("the list of everything", || async {
        let answer = try_send(&control.client, Method::GET, MAPS, &[], "").await;
        let answer = answer.ok().filter(|answer| answer.code == 200)?;
        Some(Found::of(&answer.body))
    })
    .await
}

/// Lets everybody write until so many writes are acknowledged, and kills the server among them.
async fn until_killed(
    control: &mut Control,
    found: &Found,
    death: usize,
    enough: usize,
) -> Vec<(String, String, Life)> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let counters: Vec<String> = counters().collect();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let name = format!("writer-{number}");
        let counter = counters[number % COUNTERS].clone();
        let writer = Writer {
            client: control.client.clone(),
            state: found.objects.get(&name).copied(),
            object: name.clone(),
            counter: counter.clone(),
            unique: ((death * WRITERS + number) * 1_000_000) as u64,
            acknowledged: acknowledged.clone(),
        };
        writers.spawn(async move { (name, counter, writer.live().await) });
    }
    eventually("enough is written", || async {
        (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
    })
    .await;
    control.kill();
    writers.join_all().await
}

/// Whether the checks have nothing against a life in which `w` was written at versions 11 and 13,
/// deleted at 15, and `c` incremented at 12, all of which was watched, after which there is `found`.
/// `change` may have changed what was done, watched and found.
fn holds(change: impl Fn(&mut Life, &mut Vec<Value>, &mut Value)) -> bool {
    let state = |version, value| State { version, value };
    let one =
        |name: &str, version: u64, value: u64| object(name, value, Some(state(version, value)));
    let event = |kind: &str, object: Value| json!({"type": kind, "object": object});
    let mut life = Life {
        deeds: vec![
            Deed::Wrote(state(11, 1)),
            Deed::Wrote(state(13, 2)),
            Deed::Deleted,
        ],
        increments: vec![state(12, 1)],
        ..Life::default()
    };
    let mut watched = vec![
        event("ADDED", one("w", 11, 1)),
        event("MODIFIED", one("c", 12, 1)),
        event("MODIFIED", one("w", 13, 2)),
        event("DELETED", one("w", 15, 2)),
    ];
    let list = |version: &str, items: Value| json!({"metadata": {"resourceVersion": version}, "items": items});
    let mut found = list("15", json!([one("c", 12, 1)]));
    change(&mut life, &mut watched, &mut found);
    let checks = || {
        let mut record = Record::of(["c".to_owned()].into_iter());
        record.check(&Found::of(&list("10", json!([one("c", 9, 0)]))));
        record.lived(vec![("w".into(), "c".into(), life)], &watched);
        record.check(&Found::of(&found));
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(checks)).is_ok()
}

#[test]
fn the_checks_find_what_must_not_be() {
    assert!(holds(|_, _, _| {}));
    let under_way = Deed::Wrote(State {
        version: 0,
        value: 3,
    });
    assert!(
        holds(|life, _, _| life.open = Some(under_way)),
        "it may not have happened"
    );
    assert!(
        holds(|_, watched, _| watched.truncate(1)),
        "the rest did not arrive"
    );
    let there = |version: u64, value| object("w", value, Some(State { version, value }));
    let find = |found: &mut Value, object: Value| {
        found["items"].as_array_mut().unwrap().push(object);
        found["metadata"]["resourceVersion"] = "17".into();
    };
    assert!(holds(|life, _, found| {
        life.open = Some(under_way);
        find(found, there(17, 3));
    }));
    assert!(
        !holds(|_, _, found| find(found, there(17, 3))),
        "nobody wrote that"
    );
    assert!(
        !holds(|_, _, found| find(found, there(13, 2))),
        "it was deleted"
    );
    assert!(
        !holds(|life, watched, _| {
            life.deeds.pop();
            watched.pop();
        }),
        "it is lost"
    );
    assert!(
        !holds(|_, _, found| found["metadata"]["resourceVersion"] = "14".into()),
        "back"
    );
    assert!(
        !holds(|_, _, found| found["items"][0]["data"]["value"] = "0".into()),
        "a lost count"
    );
    assert!(!holds(|_, watched, _| drop(watched.remove(0))), "missed");
    assert!(
        !holds(|_, watched, _| drop(watched.remove(1))),
        "missed a count"
    );
    assert!(!holds(|_, watched, _| watched.swap(1, 2)), "out of order");
    assert!(
        !holds(|_, watched, _| watched.push(watched[3].clone())),
        "repeated"
    );
    assert!(
        !holds(|life, watched, found| {
            life.open = Some(under_way);
            watched.push(json!({"type": "ADDED", "object": there(17, 3)}));
            found["metadata"]["resourceVersion"] = "17".into();
        }),
        "what was shown is lost"
    );
}
