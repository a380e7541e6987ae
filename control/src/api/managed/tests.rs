use serde_json::{Value, json};

use super::*;

const NODE: fn() -> Node<'static> = || Node::of_kind("", "v1", "ConfigMap");

fn writer(name: &str) -> Writer {
    Writer {
        manager: name.to_owned(),
        subresource: "",
    }
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

fn applied(
    live: &Value,
    manager: &str,
    data: Value,
    force: bool,
) -> super::super::status::Result<Value> {
    let applying = Applying {
        config: &map(data),
        writer: &writer(manager),
        version: "v1",
        apart: false,
        force,
        has_status: false,
        time: "t",
    };
    apply(NODE(), live, &applying)
}

fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let owner = |entry: &Value| {
        let name = entry["manager"].as_str().unwrap().to_owned();
        (name, entry["fieldsV1"]["f:data"].clone())
    };
    entries.iter().map(owner).collect()
}

#[test]
fn an_applier_owns_what_it_says_and_takes_back_what_it_no_longer_says() {
    let live = applied(&Value::Null, "a", json!({"x": "1", "y": "1"}), false).unwrap();
    assert_eq!(
        owners(&live),
        [("a".to_owned(), json!({"f:x": {}, "f:y": {}}))]
    );
    let live = applied(&live, "b", json!({"z": "1"}), false).unwrap();
    assert_eq!(live["data"], json!({"x": "1", "y": "1", "z": "1"}));
    let live = applied(&live, "a", json!({"x": "2"}), false).unwrap();
    assert_eq!(live["data"], json!({"x": "2", "z": "1"}));
}

#[test]
fn what_others_own_is_a_conflict_unless_it_is_the_same_or_forced() {
    let live = applied(&Value::Null, "a", json!({"x": "1", "y": "1"}), false).unwrap();
    let shared = applied(&live, "b", json!({"x": "1"}), false).unwrap();
    assert_eq!(owners(&shared).len(), 2);
    let refused = applied(&live, "b", json!({"x": "2"}), false).unwrap_err();
    assert_eq!((refused.code.as_u16(), refused.reason), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"a\": .data.x"
    );
    let both = applied(&live, "b", json!({"x": "2", "y": "2"}), false).unwrap_err();
    assert_eq!(
        both.message,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .data.x\n- .data.y"
    );
    let forced = applied(&live, "b", json!({"x": "2"}), true).unwrap();
    assert_eq!(
        owners(&forced),
        [
            ("a".to_owned(), json!({"f:y": {}})),
            ("b".to_owned(), json!({"f:x": {}}))
        ]
    );
}

#[test]
fn a_plain_write_owns_what_it_changed() {
    let (old, new) = (map(json!({"x": "1"})), map(json!({"x": "2", "y": "1"})));
    let mut managers = Managers::default();
    managers.update(NODE(), (&json!({}), &old), "v1", &writer("a"), "1");
    managers.update(NODE(), (&old, &new), "v1", &writer("b"), "2");
    let list = managers.to_value().unwrap();
    assert_eq!(list[0]["fieldsV1"], json!({"f:data": {}}));
    assert_eq!(
        list[1]["fieldsV1"],
        json!({"f:data": {"f:x": {}, "f:y": {}}})
    );
    assert_eq!(list[1]["operation"], "Update");
}

#[test]
fn managers_can_be_given_and_reset_by_a_client() {
    let mut old = Managers::default();
    old.update(
        NODE(),
        (&json!({}), &map(json!({"x": "1"}))),
        "v1",
        &writer("a"),
        "1",
    );
    assert_eq!(Managers::chosen(None, &old), old);
    assert_eq!(
        Managers::chosen(Some(&json!([{}])), &old),
        Managers::default()
    );
    assert_eq!(
        Managers::chosen(Some(&json!([{"manager": "x"}])), &old),
        old
    );
    let given = old.to_value().unwrap();
    assert_eq!(Managers::chosen(Some(&given), &Managers::default()), old);
}

#[test]
fn only_so_many_plain_writers_are_remembered() {
    let mut managers = Managers::default();
    let mut old = map(json!({}));
    for index in 0..15 {
        let mut new = old.clone();
        new["data"][format!("k{index}")] = "v".into();
        let (name, time) = (format!("w{index}"), format!("{index:02}"));
        managers.update(NODE(), (&old, &new), "v1", &writer(&name), &time);
        old = new;
    }
    let list = managers.to_value().unwrap();
    assert_eq!(list.as_array().unwrap().len(), 10);
    assert_eq!(list[0]["manager"], "ancient-changes");
}

#[test]
fn kubectl_takes_over_what_it_applied_by_itself() {
    let key = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = map(json!({"x": "1"}));
    live["metadata"]["annotations"] = json!({key: map(json!({"x": "1"})).to_string()});
    let mut managers = Managers::default();
    let client_side = writer("kubectl-client-side-apply");
    managers.update(NODE(), (&json!({}), &live), "v1", &client_side, "1");
    live["metadata"]["managedFields"] = managers.to_value().unwrap();
    let refused = applied(&live, "other", json!({"x": "2"}), false);
    assert!(refused.is_err());
    let taken = applied(&live, "kubectl", json!({"x": "2"}), false).unwrap();
    assert_eq!(taken["data"]["x"], "2");
    let last = taken["metadata"]["annotations"][key].as_str().unwrap();
    assert!(last.contains("\"x\":\"2\""), "{last}");
}
