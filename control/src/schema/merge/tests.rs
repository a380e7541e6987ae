//! What kubectl sends, and what must come out.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn merged(kind: &str, current: Value, patch: Value) -> Result<Value, MergeError> {
    let group = if kind == "Deployment" { "apps" } else { "" };
    let mut result = current;
    strategic_merge(group, "v1", kind, &mut result, &patch)?;
    Ok(result)
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

#[track_caller]
fn pod_case(current: Value, patch: Value, expected: Value) {
    assert_eq!(merged("Pod", pod(current), pod(patch)), Ok(pod(expected)));
}

#[test]
fn maps_merge_and_null_deletes() {
    let current = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "annotations": {"x": "y"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": null}});
    let expected = json!({"metadata": {"labels": {"b": "2", "c": "3"}}});
    assert_eq!(merged("ConfigMap", current, patch), Ok(expected));
}

#[test]
fn nulls_for_absent_members_leave_no_trace() {
    let patch = json!({"metadata": {"labels": {"a": null, "b": "1"}}, "data": null});
    let expected = json!({"metadata": {"labels": {"b": "1"}}});
    assert_eq!(merged("ConfigMap", json!({}), patch), Ok(expected));
}

#[test]
fn set_image_touches_one_container() {
    pod_case(
        json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
                              {"name": "b", "image": "1"}]}),
        json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
               "containers": [{"name": "a", "image": "2"}]}),
        json!({"containers": [{"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}]},
                              {"name": "b", "image": "1"}]}),
    );
}

#[test]
fn elements_are_added_in_the_wanted_order() {
    pod_case(
        json!({"containers": [{"name": "a"}, {"name": "injected"}, {"name": "b"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}],
               "containers": [{"name": "new", "image": "x"}]}),
        json!({"containers": [{"name": "injected"}, {"name": "b"}, {"name": "new", "image": "x"},
                              {"name": "a"}]}),
    );
}

#[test]
fn order_alone_reorders() {
    pod_case(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        json!({"containers": [{"name": "b"}, {"name": "a"}]}),
    );
    pod_case(
        json!({}),
        json!({"$setElementOrder/containers": [{"name": "a"}]}),
        json!({}),
    );
}

#[test]
fn delete_directive_removes_an_element() {
    pod_case(
        json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
        json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
               "containers": [{"$patch": "delete", "name": "b"}]}),
        json!({"containers": [{"name": "a"}, {"name": "c"}]}),
    );
    // Without a stored list a deletion leaves nothing behind.
    pod_case(
        json!({}),
        json!({"containers": [{"$patch": "delete", "name": "b"}, {"name": "a"}]}),
        json!({"containers": [{"name": "a"}]}),
    );
}

#[test]
fn replace_directive_replaces_a_list_or_an_object() {
    pod_case(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "a", "tty": true}]}),
        json!({"containers": [{"name": "a", "tty": true}]}),
    );
    pod_case(
        json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}}),
        json!({"securityContext": {"$patch": "replace", "fsGroup": 3}}),
        json!({"securityContext": {"fsGroup": 3}}),
    );
    pod_case(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "delete"}}),
        json!({"securityContext": {}}),
    );
}

#[test]
fn retain_keys_drops_what_a_new_union_member_replaces() {
    let current = json!({"spec": {"strategy": {
        "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let expected = json!({"spec": {"strategy": {"type": "Recreate"}}});
    assert_eq!(merged("Deployment", current, patch), Ok(expected));

    pod_case(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"$setElementOrder/volumes": [{"name": "v"}],
               "volumes": [{"$retainKeys": ["hostPath", "name"], "name": "v",
                            "hostPath": {"path": "/"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
    );
}

#[test]
fn retain_keys_must_name_what_is_set() {
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    let fault = merged("Deployment", json!({"spec": {"strategy": {}}}), patch);
    let (path, key) = ("spec.strategy".to_owned(), "rollingUpdate".to_owned());
    assert_eq!(fault, Err(MergeError::NotRetained { path, key }));
}

#[test]
fn scalars_merge_as_a_set_and_are_deleted_by_directive() {
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
    let patch = finalizers(json!(["b", "c"]));
    assert_eq!(
        merged("Pod", finalizers(json!(["a", "b"])), patch),
        Ok(finalizers(json!(["a", "b", "c"])))
    );
    let patch = json!({"metadata": {
        "$deleteFromPrimitiveList/finalizers": ["a"],
        "$setElementOrder/finalizers": ["c", "b"],
        "finalizers": ["c"],
    }});
    assert_eq!(
        merged("Pod", finalizers(json!(["a", "b"])), patch),
        Ok(finalizers(json!(["c", "b"])))
    );
}

#[test]
fn lists_without_strategy_are_replaced() {
    pod_case(
        json!({"containers": [{"name": "a", "args": ["1", "2"]}], "tolerations": [{"key": "x"}]}),
        json!({"containers": [{"name": "a", "args": ["3"]}], "tolerations": [{"key": "y"}]}),
        json!({"containers": [{"name": "a", "args": ["3"]}], "tolerations": [{"key": "y"}]}),
    );
}

#[test]
fn keys_may_be_numbers() {
    let ports = |list: Value| json!({"spec": {"ports": list}});
    let current = ports(json!([{"port": 80, "name": "http"}, {"port": 443}]));
    let patch = json!({"spec": {"$setElementOrder/ports": [{"port": 443}, {"port": 8080}],
        "ports": [{"port": 8080}, {"$patch": "delete", "port": 80}]}});
    let expected = ports(json!([{"port": 443}, {"port": 8080}]));
    assert_eq!(merged("Service", current, patch), Ok(expected));
}

#[test]
fn faults_name_the_place() {
    let no_key = merged(
        "Pod",
        pod(json!({"containers": [{"name": "a"}]})),
        pod(json!({"containers": [{"image": "x"}]})),
    );
    let path = "spec.containers".to_owned();
    assert_eq!(
        no_key,
        Err(MergeError::NoMergeKey {
            path: path.clone(),
            key: "name"
        })
    );

    let verb = merged("Pod", pod(json!({})), pod(json!({"$patch": "burn"})));
    let burn = MergeError::Directive {
        path: "spec".to_owned(),
        directive: "burn".to_owned(),
    };
    assert_eq!(verb, Err(burn));

    let order = merged(
        "Pod",
        pod(json!({"containers": []})),
        pod(json!({
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a"}, {"name": "b"}]})),
    );
    assert_eq!(order, Err(MergeError::Order { path: path.clone() }));

    let mixed = merged(
        "Pod",
        pod(json!({"containers": [{"name": "a"}]})),
        pod(json!({"containers": ["a"]})),
    );
    assert_eq!(mixed, Err(MergeError::MixedList { path }));

    assert_eq!(
        merged("Pod", json!([]), json!({})),
        Err(MergeError::NotAnObject)
    );
    assert!(matches!(
        merged("Nothing", json!({}), json!({})),
        Err(MergeError::UnknownKind(_))
    ));
}

#[test]
fn unknown_fields_pass_through_to_the_check() {
    let patch = pod(json!({"containres": [{"name": "a"}], "nodeSelector": {"a": "b"}}));
    pod_case(json!({}), patch["spec"].clone(), patch["spec"].clone());
}

/// A pod spec with merged lists of every sort.
fn spec() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
    let container = ("[1-3]", env).prop_map(|(image, env)| {
        let env: Vec<_> = env
            .iter()
            .map(|(n, v)| json!({"name": n, "value": v}))
            .collect();
        json!({"image": image, "env": env})
    });
    let containers = prop::collection::btree_map("[a-d]", container, 0..4);
    let finalizers = prop::collection::btree_set("[f-i]", 0..3);
    (
        containers,
        finalizers,
        prop::collection::btree_map("[k-m]", "[1-3]", 0..3),
    )
        .prop_map(|(containers, finalizers, selector)| {
            let containers: Vec<_> = containers
                .into_iter()
                .map(|(name, mut container)| {
                    container["name"] = name.into();
                    container
                })
                .collect();
            json!({"metadata": {"finalizers": finalizers},
                   "spec": {"containers": containers, "nodeSelector": selector}})
        })
}

proptest! {
    #[test]
    fn an_empty_patch_changes_nothing(object in spec()) {
        prop_assert_eq!(merged("Pod", object.clone(), json!({})), Ok(object));
    }

    #[test]
    fn an_object_patched_with_itself_stays(object in spec()) {
        prop_assert_eq!(merged("Pod", object.clone(), object.clone()), Ok(object));
    }

    #[test]
    fn patching_twice_is_patching_once(object in spec(), patch in spec()) {
        let once = merged("Pod", object, patch.clone()).expect("a clean patch");
        prop_assert_eq!(merged("Pod", once.clone(), patch), Ok(once));
    }

    #[test]
    fn everything_the_patch_names_is_there_afterwards(object in spec(), patch in spec()) {
        let after = merged("Pod", object.clone(), patch.clone()).expect("a clean patch");
        let names = |value: &Value| -> Vec<String> {
            let containers = value["spec"]["containers"].as_array().expect("containers").iter();
            containers.map(|c| c["name"].as_str().expect("a name").to_owned()).collect()
        };
        let mut expected: Vec<_> = names(&object).into_iter().chain(names(&patch)).collect();
        expected.sort();
        expected.dedup();
        let mut found = names(&after);
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_directive_is_ever_stored(object in spec(), verb in "delete|replace|merge", name in "[a-d]") {
        let patch = json!({"spec": {"$retainKeys": ["containers"], "containers": [
            {"name": name, "$patch": verb, "securityContext": {"$patch": "replace", "privileged": true}}]}});
        let after = merged("Pod", object, patch).expect("a clean patch").to_string();
        prop_assert!(!after.contains('$'), "{}", after);
    }
}
