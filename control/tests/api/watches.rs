//! Watch streams.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn now(control: &Control) -> String {
    version(&control.get(MAPS).await.expect(200))
}

#[tokio::test]
async fn a_watch_from_a_version_tells_everything_after_it_in_order() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("before")).await;
    let since = now(&control).await;
    create(&control, MAPS, &labelled("a", "x")).await;
    let pod = "/api/v1/namespaces/default/pods";
    create(&control, pod, &super::pod("other-kind")).await;
    let change = json!({"data": {"a": "2"}});
    control
        .patch(&format!("{MAPS}/a"), support::http::MERGE_PATCH, &change)
        .await
        .expect(200);
    control
        .delete(&format!("{MAPS}/a"), &Value::Null)
        .await
        .expect(200);
    let path = format!("{MAPS}?watch=1&resourceVersion={since}&labelSelector=app%3Dx");
    let mut watch = control.watch(&path, JSON).await;
    let mut last = since.parse::<u64>().unwrap();
    for (r#type, value) in [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")] {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], r#type);
        assert_eq!(event["object"]["data"]["a"], value);
        let version: u64 = version(&event["object"]).parse().unwrap();
        assert!(version > last, "versions rise: {last} then {version}");
        last = version;
    }
    create(&control, MAPS, &labelled("live", "x")).await;
    assert_eq!(watch.brief().await, ("ADDED".into(), "live".into()));
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_to_its_watcher() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &labelled("a", "x")).await;
    let path = format!("{MAPS}?watch=1&labelSelector=app%3Dx");
    let mut watch = control.watch(&path, JSON).await;
    assert_eq!(watch.brief().await, ("ADDED".into(), "a".into()));
    for (app, seen) in [("y", "DELETED"), ("x", "ADDED")] {
        let patch = json!({"metadata": {"labels": {"app": app}}});
        let path = format!("{MAPS}/a");
        let done = control.patch(&path, support::http::MERGE_PATCH, &patch);
        done.await.expect(200);
        assert_eq!(watch.brief().await, (seen.into(), "a".into()));
    }
}

#[tokio::test]
async fn a_watch_as_table_carries_rows() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da");
    let mut watch = control.watch(&path, TABLE).await;
    let event = watch.next().await.unwrap();
    let table = &event["object"];
    assert_eq!(
        (&event["type"], &table["kind"]),
        (&json!("ADDED"), &json!("Table"))
    );
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    control
        .delete(&format!("{MAPS}/a"), &Value::Null)
        .await
        .expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["rows"][0]["cells"][0], "a");
}

#[tokio::test]
async fn bookmarks_end_the_initial_events_and_precede_the_end_of_the_watch() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("a")).await;
    let path = format!(
        "{MAPS}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true\
        &resourceVersionMatch=NotOlderThan&timeoutSeconds=3"
    );
    let mut watch = control.watch(&path, JSON).await;
    let mut events = Vec::new();
    while let Some(event) = watch.next().await {
        events.push(event);
    }
    let bookmarks: Vec<usize> = (0..events.len())
        .filter(|index| events[*index]["type"] == "BOOKMARK")
        .collect();
    let [first, last] = bookmarks[..] else {
        panic!("two bookmarks: {events:#?}");
    };
    let metadata = |index: usize| &events[index]["object"]["metadata"];
    assert!(
        events[..first]
            .iter()
            .any(|event| event["object"]["metadata"]["name"] == "a")
    );
    assert_eq!(
        metadata(first)["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(last, events.len() - 1, "the last event before the end");
    assert_eq!(events[last]["object"]["kind"], "ConfigMap");
    let since = metadata(last)["resourceVersion"].as_str().unwrap();
    let path = format!("{MAPS}?watch=1&resourceVersion={since}");
    let mut watch = control.watch(&path, JSON).await;
    create(&control, MAPS, &map("b")).await;
    assert_eq!(watch.brief().await, ("ADDED".into(), "b".into()));
}

#[tokio::test]
async fn without_leave_there_are_no_bookmarks_and_initial_events_need_it() {
    let control = Control::start(&[]).await;
    let mut watch = control
        .watch(&format!("{MAPS}?watch=1&timeoutSeconds=3"), JSON)
        .await;
    while let Some(event) = watch.next().await {
        assert_eq!(event["type"], "ADDED");
    }
    let path = format!("{MAPS}?watch=1&sendInitialEvents=true");
    control.get(&path).await.refused(422, "Invalid");
}

#[tokio::test]
async fn what_is_no_longer_kept_is_410_to_watches_and_lists() {
    let control = Control::start(&[]).await;
    let (since, path) = (now(&control).await, format!("{MAPS}/big"));
    create(&control, MAPS, &map("big")).await;
    // The log keeps eight MiB of a resource.
    for round in 0..100 {
        let text = format!("{round}{}", "x".repeat(120_000));
        let change = json!({"data": {"a": text}});
        let done = control.patch(&path, support::http::MERGE_PATCH, &change);
        done.await.expect(200);
    }
    for round in 0..100 {
        let change = json!({"data": {"a": round.to_string()}});
        let done = control.patch(&path, support::http::MERGE_PATCH, &change);
        done.await.expect(200);
    }
    let watch = format!("{MAPS}?watch=1&resourceVersion={since}");
    let mut watch = control.watch(&watch, JSON).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["code"], 410);
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(watch.next().await, None);
    let list = format!("{MAPS}?resourceVersion={since}&resourceVersionMatch=Exact");
    control.get(&list).await.refused(410, "Expired");
}

#[tokio::test]
async fn watchers_that_never_read_cost_no_memory_and_hold_nobody_up() {
    const MAPS_OF_20K: usize = 1000;
    const WATCHERS: usize = 40;
    let control = Control::start(&[]).await;
    for index in 0..MAPS_OF_20K {
        let mut large = map(&format!("m{index}"));
        large["data"]["b"] = "x".repeat(20_000).into();
        create(&control, MAPS, &large).await;
        // What was written again would be encoded anew for each of them.
        let path = format!("{MAPS}/m{index}");
        let again = json!({"data": {"a": "2"}});
        let done = control.patch(&path, support::http::MERGE_PATCH, &again);
        done.await.expect(200);
    }
    let before = control.rss();
    let mut held = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = control.connect().await;
        let watch = format!(
            "GET {MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true\
             &resourceVersionMatch=NotOlderThan HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        stream.write_all(watch.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    // Another one hears of all that was there, and of what comes now.
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true\
         &resourceVersionMatch=NotOlderThan"
    );
    let mut watch = control.watch(&path, JSON).await;
    let mut last = String::new();
    for _ in 0..MAPS_OF_20K {
        let (what, name) = watch.brief().await;
        if name == "kube-root-ca.crt" {
            continue;
        }
        assert!(what == "ADDED" && name > last, "{what} {name} after {last}");
        last = name;
    }
    create(&control, MAPS, &map("new")).await;
    let mut told = watch.brief().await;
    while told.1 != "new" {
        told = watch.brief().await;
    }
    // Each was owed 20 MB.
    let grown = control.rss().saturating_sub(before) / 1024;
    assert!(grown < 200, "{grown} MiB for {WATCHERS} watchers");
    drop(held);
}
