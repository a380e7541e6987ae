//! Events go when nobody has written to them for a while.

use super::*;
use std::time::{Duration, Instant};
use support::http::MERGE_PATCH;

const CORE: &str = "/api/v1/namespaces/default/events";
const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const JSON: &str = "application/json";

fn core(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"of": "test"}}, "reason": "Testing", "count": 1,
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "type": "Normal"})
}

fn new(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"of": "test"}}, "reason": "Testing",
        "eventTime": "2020-01-01T00:00:00.000000Z", "action": "Test", "type": "Normal",
        "reportingController": "naru.dev/test", "reportingInstance": "test",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}})
}

fn here(path: &str) -> String {
    format!("{path}?labelSelector=of%3Dtest")
}

#[tokio::test]
async fn an_event_goes_when_its_time_is_over_and_not_before() {
    let control = Control::start(&["--event-ttl=2s"]).await;
    let mut watch = control.watch(&format!("{}&watch=1", here(NEW)), JSON).await;
    let begun = Instant::now();
    create(&control, CORE, &core("one")).await;
    create(&control, NEW, &new("other")).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(watch.brief().await);
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let told = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(seen[..2], [told("ADDED", "one"), told("ADDED", "other")]);
    seen[2..].sort();
    assert_eq!(
        seen[2..],
        [told("DELETED", "one"), told("DELETED", "other")]
    );
    let list = control.get(&here(CORE)).await.expect(200);
    assert!(names(&list).is_empty());
    control
        .get(&format!("{CORE}/one"))
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn every_write_gives_an_event_its_time_again() {
    let life = Duration::from_secs(4);
    let control = Control::start(&["--event-ttl=4s"]).await;
    create(&control, CORE, &core("kept")).await;
    let mut watch = control
        .watch(&format!("{}&watch=1", here(CORE)), JSON)
        .await;
    assert_eq!(watch.brief().await.0, "ADDED");
    let mut written = Instant::now();
    for count in 2..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        written = Instant::now();
        let again = json!({"count": count});
        let path = format!("{CORE}/kept");
        control.patch(&path, MERGE_PATCH, &again).await.expect(200);
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], "MODIFIED");
    }
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["count"], 7);
    assert!(written.elapsed() >= life);
}

#[tokio::test]
async fn events_that_a_start_finds_go_as_well_and_all_of_many_do() {
    let mut control = Control::start(&["--event-ttl=5s"]).await;
    let begun = Instant::now();
    // More than go at once.
    for number in 0..600 {
        create(&control, CORE, &core(&format!("e{number}"))).await;
    }
    let list = control.get(&here(CORE)).await.expect(200);
    assert!(!names(&list).is_empty());
    control.restart().await;
    support::eventually("all events go", || async {
        let list = control.get(&here(CORE)).await.expect(200);
        names(&list).is_empty().then_some(())
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn a_life_without_end_is_kept_and_one_that_is_no_time_refused() {
    let control = Control::start(&["--event-ttl=0s"]).await;
    create(&control, CORE, &core("kept")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    control.get(&format!("{CORE}/kept")).await.expect(200);
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args([
            "serve",
            "--data-dir=/nonexistent",
            "--advertise-address=10.0.0.1",
        ])
        .arg("--event-ttl=1d")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.contains("--event-ttl") && why.contains("1m30s"),
        "{why}"
    );
}
