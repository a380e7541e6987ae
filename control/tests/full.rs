//! An etcd whose quota is used up: writes are refused in the words of a full disk, everything else goes
//! on, and room that is made is used.

#[path = "support/etcd.rs"]
mod etcd;
mod support;

use serde_json::{Value, json};
use support::{Control, eventually};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Room for what a new cluster has and some objects of half a megabyte.
const QUOTA: u64 = 12 << 20;

fn map(name: &str, bytes: usize) -> Value {
    json!({"metadata": {"name": name}, "data": {"text": "x".repeat(bytes)}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_refuses_writes_and_serves_everything_else() {
    let Some(etcd) = etcd::Etcd::start_small(QUOTA) else {
        return;
    };
    let flag = format!("--etcd-servers={}", etcd.servers().join(","));
    let control = Control::start(&[&flag]).await;
    control.post(MAPS, &map("small", 10)).await.expect(201);
    let mut written = Vec::new();
    let refusal = loop {
        let name = format!("large-{:02}", written.len());
        let answer = control.post(MAPS, &map(&name, 500_000)).await;
        if answer.code != 201 {
            break answer;
        }
        written.push(name);
        assert!(written.len() < 100, "the quota is not kept");
    };
    let why = refusal.refused(507, "InsufficientStorage");
    assert_eq!(why, "the disk under the store is full; nothing was written");
    // Once the alarm has gone round nothing is written any more, however small.
    eventually("a small write is refused", || async {
        let late = control
            .post(&format!("{MAPS}?fieldManager=late"), &map("late", 1))
            .await;
        let is_made = late.code == 201;
        if is_made {
            control
                .delete(&format!("{MAPS}/late"), &Value::Null)
                .await
                .expect(200);
        }
        (late.code == 507).then_some(())
    })
    .await;
    // Reads and watches go on, and deletions, which watches show.
    let list = control.get(MAPS).await.expect(200);
    let there = |name: &str| {
        let items = list["items"].as_array().unwrap().iter();
        items.filter(|it| it["metadata"]["name"] == name).count() == 1
    };
    assert!(written.iter().all(|name| there(name)) && there("small") && !there("late"));
    let since = list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = format!("{MAPS}?watch=1&resourceVersion={since}");
    let mut watch = control.watch(&watch, "*/*").await;
    for name in &written {
        let path = format!("{MAPS}/{name}");
        control.delete(&path, &Value::Null).await.expect(200);
        assert_eq!(watch.brief().await, ("DELETED".to_owned(), name.clone()));
    }
    // What etcd's operator does then.
    let list = control.get(MAPS).await.expect(200);
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    let compact = format!(r#"{{"revision": "{revision}", "physical": true}}"#);
    etcd.post("/v3/kv/compaction", &compact);
    etcd.post("/v3/maintenance/defragment", "{}");
    let alarms = etcd.post("/v3/maintenance/alarm", r#"{"action": "GET"}"#);
    let alarms: Value = serde_json::from_str(&alarms).unwrap();
    let mut disarmed = alarms["alarms"][0].clone();
    assert_eq!(disarmed["alarm"], "NOSPACE", "{alarms:#}");
    disarmed["action"] = "DEACTIVATE".into();
    etcd.post("/v3/maintenance/alarm", &disarmed.to_string());
    eventually("it takes writes again", || async {
        let again = control.post(MAPS, &map("again", 500_000)).await;
        (again.code == 201).then_some(())
    })
    .await;
    assert_eq!(
        watch.brief().await,
        ("ADDED".to_owned(), "again".to_owned())
    );
}
