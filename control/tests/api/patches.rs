//! Patches of the three types.

use super::*;
use support::http::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn two_containers() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"}]}}}})
}

fn images(deployment: &Value) -> Vec<(&str, &str)> {
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    let pair = |it: &'_ Value| it["name"].is_string();
    let containers = containers.as_array().unwrap();
    assert!(containers.iter().all(pair));
    containers
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["image"].as_str().unwrap()))
        .collect()
}

fn containers(list: &Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": list}}}})
}

#[tokio::test]
async fn a_strategic_patch_merges_lists_by_key_and_a_merge_patch_replaces_them() {
    let control = Control::start(&[]).await;
    create(&control, DEPLOYMENTS, &two_containers()).await;
    let path = format!("{DEPLOYMENTS}/web");
    let patch = containers(&json!([{"name": "b", "image": "b:2"},
        {"name": "a", "env": [{"name": "Y", "value": "2"}]}]));
    let done = control
        .patch(&path, STRATEGIC_PATCH, &patch)
        .await
        .expect(200);
    let mut seen = images(&done);
    seen.sort_unstable();
    assert_eq!(seen, [("a", "a:1"), ("b", "b:2")]);
    let of_a = done["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    let of_a = of_a.iter().find(|it| it["name"] == "a").unwrap();
    assert_eq!(of_a["env"].as_array().unwrap().len(), 2);

    let patch = containers(&json!([{"name": "a", "$patch": "delete"}]));
    let done = control
        .patch(&path, STRATEGIC_PATCH, &patch)
        .await
        .expect(200);
    assert_eq!(images(&done), [("b", "b:2")]);

    let patch = containers(&json!([{"name": "c", "image": "c:1"}]));
    let done = control.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(images(&done), [("c", "c:1")]);
    assert_eq!(done["metadata"]["generation"], 4);
}

#[tokio::test]
async fn a_json_patch_is_all_or_nothing_and_a_failed_test_says_so() {
    let control = Control::start(&[]).await;
    let before = create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    let failing = json!([{"op": "replace", "path": "/data/a", "value": "2"},
        {"op": "test", "path": "/data/a", "value": "3"}]);
    let why = control
        .patch(&path, JSON_PATCH, &failing)
        .await
        .refused(422, "Invalid");
    assert!(why.contains("value did not match"), "{why}");
    let missing = json!([{"op": "remove", "path": "/data/none"}]);
    control
        .patch(&path, JSON_PATCH, &missing)
        .await
        .refused(422, "Invalid");
    assert_eq!(control.get(&path).await.expect(200), before);
    let passing = json!([{"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/data/b", "value": "2"},
        {"op": "move", "from": "/data/a", "path": "/data/c"}]);
    let done = control.patch(&path, JSON_PATCH, &passing).await.expect(200);
    assert_eq!(done["data"], json!({"b": "2", "c": "1"}));
}

#[tokio::test]
async fn a_first_finalizer_is_added_after_a_test_that_there_is_none() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    let first = json!([{"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["naru.test/x"]}]);
    let done = control.patch(&path, JSON_PATCH, &first).await.expect(200);
    assert_eq!(done["metadata"]["finalizers"], json!(["naru.test/x"]));
    let second = control.patch(&path, JSON_PATCH, &first).await;
    second.refused(422, "Invalid");
}

#[tokio::test]
async fn a_json_patch_can_ask_for_no_more_than_its_share_of_memory() {
    let control = Control::start(&[]).await;
    let before = create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    // Carried out, these would make 2^24 copies, and one more of them twice as many.
    let doubling =
        |number| json!({"op": "copy", "from": "/data", "path": format!("/data/{number}")});
    let doubling = (0..24).map(doubling).collect::<Value>();
    let refused = control.patch(&path, JSON_PATCH, &doubling).await;
    let why = refused.refused(422, "Invalid");
    assert!(why.contains("exceeding the limit 3145728"), "{why}");
    let test = json!({"op": "test", "path": "/data/a", "value": "1"});
    let most = Value::from(vec![test.clone(); 10_000]);
    control.patch(&path, JSON_PATCH, &most).await.expect(200);
    let more = Value::from(vec![test; 10_001]);
    let refused = control.patch(&path, JSON_PATCH, &more).await;
    let why = refused.refused(413, "RequestEntityTooLarge");
    assert_eq!(
        why,
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    assert_eq!(control.get(&path).await.expect(200), before);
}

#[tokio::test]
async fn patches_that_make_no_sense_are_refused() {
    let control = Control::start(&[]).await;
    let before = create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    for (media_type, patch, code, reason) in [
        (JSON_PATCH, json!({"data": {}}), 400, "BadRequest"),
        (
            JSON_PATCH,
            json!([{"op": "fly", "path": "/data"}]),
            400,
            "BadRequest",
        ),
        (MERGE_PATCH, json!([]), 400, "BadRequest"),
        (MERGE_PATCH, json!({"data": "text"}), 400, "BadRequest"),
        (MERGE_PATCH, json!({"data": {"a/b": "1"}}), 422, "Invalid"),
        (
            MERGE_PATCH,
            json!({"metadata": {"name": "b"}}),
            400,
            "BadRequest",
        ),
        (MERGE_PATCH, json!({"kind": "Secret"}), 400, "BadRequest"),
        (
            STRATEGIC_PATCH,
            json!({"$patch": "explode"}),
            400,
            "BadRequest",
        ),
        ("application/apply-patch+yaml", map("a"), 422, "Invalid"),
        ("application/json", map("a"), 415, "UnsupportedMediaType"),
    ] {
        let refused = control.patch(&path, media_type, &patch).await;
        assert_eq!(
            refused.code, code,
            "{media_type} {patch}: {:#}",
            refused.body
        );
        refused.refused(code, reason);
    }
    assert_eq!(control.get(&path).await.expect(200), before);
    let none = control
        .patch(&format!("{MAPS}/none"), MERGE_PATCH, &json!({}))
        .await;
    none.refused(404, "NotFound");
}
