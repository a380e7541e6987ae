//! What the two kinds refuse, and that the cluster's own objects are what they accept.

use serde_json::{Value, json};

use super::{defaults, flow_schema, priority_level_configuration};
use crate::registry::kind::Kind;
use crate::registry::rules::Faults;

/// Paths at fault of an object once it is complete.
fn faults(kind: &Kind, object: &Value) -> Vec<String> {
    let mut object = object.clone();
    kind.complete(&mut object);
    let faults = kind.faults(&object, None);
    let paths = Faults::paths(&faults).into_iter();
    paths.map(str::to_owned).collect()
}

fn schema(spec: &Value) -> Vec<String> {
    let mut whole = json!({"priorityLevelConfiguration": {"name": "l"}});
    let members = spec.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(members);
    let object = json!({"metadata": {"name": "s"}, "spec": whole});
    faults(&flow_schema::KIND, &object)
}

fn rule(subject: &Value, resource: &Value) -> Vec<String> {
    schema(&json!({"rules": [{"subjects": [subject], "resourceRules": [resource]}]}))
}

fn queuing(queuing: &Value) -> Vec<String> {
    let response = json!({"type": "Queue", "queuing": queuing});
    let spec = json!({"type": "Limited", "limited": {"limitResponse": response}});
    let object = json!({"metadata": {"name": "l"}, "spec": spec});
    faults(&priority_level_configuration::KIND, &object)
}

#[test]
fn the_objects_of_every_cluster_are_valid_and_complete() {
    let kinds = [
        (&flow_schema::KIND, defaults::flow_schemas()),
        (
            &priority_level_configuration::KIND,
            defaults::priority_levels(),
        ),
    ];
    for (kind, objects) in kinds {
        for object in objects {
            let mut complete = object.clone();
            kind.complete(&mut complete);
            assert_eq!(complete["spec"], object["spec"]);
            assert_eq!(faults(kind, &object), [""; 0], "{object}");
        }
    }
}

#[test]
fn what_is_mandatory_cannot_be_changed() {
    for mut object in defaults::flow_schemas() {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["spec"]["rules"][0]["subjects"][0] =
            json!({"kind": "User", "user": {"name": "somebody"}});
        let found = faults(&flow_schema::KIND, &object);
        assert_eq!(!found.is_empty(), defaults::is_mandatory(&name), "{name}");
    }
    let kind = &priority_level_configuration::KIND;
    let named = |name: &str| defaults::named(defaults::priority_levels(), name).unwrap();
    let mut all = named("catch-all");
    all["spec"]["limited"]["nominalConcurrencyShares"] = 6.into();
    assert_eq!(faults(kind, &all), ["spec"]);
    let mut exempt = named("exempt");
    exempt["spec"]["exempt"]["nominalConcurrencyShares"] = 6.into();
    assert_eq!(faults(kind, &exempt), [""; 0]);
    exempt["metadata"]["name"] = "other".into();
    assert_eq!(faults(kind, &exempt), ["spec.type"]);
}

#[test]
fn precedence_one_is_for_exempt_alone() {
    for bad in [1, 0, 10_001, -5] {
        let found = schema(&json!({"matchingPrecedence": bad}));
        assert_eq!(found, ["spec.matchingPrecedence"], "{bad}");
    }
    for good in [2, 10_000] {
        assert_eq!(schema(&json!({"matchingPrecedence": good})), [""; 0]);
    }
}

#[test]
fn a_subject_is_of_one_kind_and_says_which_one() {
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]});
    let at = |member: &str| format!("spec.rules[0].subjects[0].{member}");
    let account = |name: &str, namespace: &str| {
        json!({"kind": "ServiceAccount",
        "serviceAccount": {"name": name, "namespace": namespace}})
    };
    for (subject, fault) in [
        (json!({"kind": "User", "user": {"name": "x"}}), ""),
        (json!({"kind": "Group", "group": {"name": "*"}}), ""),
        (account("*", "n"), ""),
        (json!({"kind": "User"}), "user"),
        (json!({"kind": "User", "user": {"name": ""}}), "user.name"),
        (
            json!({"kind": "User", "user": {"name": "x"}, "group": {"name": "g"}}),
            "group",
        ),
        (account("a", ""), "serviceAccount.namespace"),
        (account("a", "*"), "serviceAccount.namespace"),
        (account("A", "n"), "serviceAccount.name"),
        (json!({"kind": "Robot"}), "kind"),
    ] {
        let expected: Vec<_> = (!fault.is_empty()).then(|| at(fault)).into_iter().collect();
        assert_eq!(rule(&subject, &all), expected, "{subject}");
    }
}

#[test]
fn a_star_stands_alone_and_verbs_are_known() {
    let me = json!({"kind": "User", "user": {"name": "x"}});
    let at = |member: &str| format!("spec.rules[0].resourceRules[0].{member}");
    for (member, value, fault) in [
        ("verbs", json!(["get", "*"]), "verbs"),
        ("verbs", json!(["fetch"]), "verbs"),
        ("verbs", json!([]), "verbs"),
        ("apiGroups", json!(["*", "apps"]), "apiGroups"),
        ("resources", json!([]), "resources"),
        ("namespaces", json!([]), "namespaces"),
        ("namespaces", json!(["a", "B"]), "namespaces[1]"),
        ("namespaces", json!(["a", "*"]), "namespaces"),
    ] {
        let mut resource = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"],
            "namespaces": ["n"]});
        resource[member] = value;
        assert_eq!(rule(&me, &resource), [at(fault)], "{resource}");
    }
}

#[test]
fn paths_end_with_a_star_at_most() {
    let of = |path: &str| {
        let paths = json!([{"verbs": ["get"], "nonResourceURLs": [path]}]);
        let me = json!({"kind": "User", "user": {"name": "x"}});
        schema(&json!({"rules": [{"subjects": [me], "nonResourceRules": paths}]})).is_empty()
    };
    for good in ["/", "*", "/healthz", "/healthz/*", "/a/b"] {
        assert!(of(good), "{good}");
    }
    for bad in ["", "healthz", "/a b", "/a//b", "/*/a", "/a*", "/a/*/*"] {
        assert!(!of(bad), "{bad}");
    }
}

#[test]
fn a_hand_takes_no_more_than_a_hash_has() {
    let of = |queues: i64, hand: i64| {
        queuing(&json!({"queues": queues, "handSize": hand, "queueLengthLimit": 1})).is_empty()
    };
    for (queues, hand) in [
        (1, 1),
        (64, 8),
        (128, 6),
        (512, 6),
        (15, 15),
        (10_000_000, 2),
    ] {
        assert!(of(queues, hand), "{hand} of {queues}");
    }
    for (queues, hand) in [
        (0, 1),
        (10_000_001, 1),
        (4, 5),
        (4, 0),
        (4, -1),
        (16, 16),
        (128, 9),
        (10_000_000, 3),
    ] {
        assert!(!of(queues, hand), "{hand} of {queues}");
    }
    assert_eq!(queuing(&json!({})), [""; 0]);
    let length = "spec.limited.limitResponse.queuing.queueLengthLimit";
    assert_eq!(queuing(&json!({"queueLengthLimit": 0})), [length]);
}

#[test]
fn a_level_is_what_its_type_says() {
    let of = |spec: Value| {
        let object = json!({"metadata": {"name": "l"}, "spec": spec});
        faults(&priority_level_configuration::KIND, &object)
    };
    let reject = json!({"type": "Reject"});
    assert_eq!(of(json!({"type": "Limited"})), ["spec.limited"]);
    let both = json!({"type": "Limited", "limited": {"limitResponse": reject}, "exempt": {}});
    assert_eq!(of(both), ["spec.exempt"]);
    let limited = |member: &str, value: Value| {
        let mut limited = json!({"limitResponse": reject});
        limited[member] = value;
        of(json!({"type": "Limited", "limited": limited}))
    };
    for (member, value) in [
        ("nominalConcurrencyShares", -1),
        ("lendablePercent", 101),
        ("borrowingLimitPercent", -1),
    ] {
        let at = format!("spec.limited.{member}");
        assert_eq!(limited(member, value.into()), [at]);
    }
    assert_eq!(limited("nominalConcurrencyShares", 0.into()), [""; 0]);
    let queued = limited("limitResponse", json!({"type": "Queue"}));
    assert_eq!(queued, ["spec.limited.limitResponse.queuing"]);
    let rejecting = limited("limitResponse", json!({"type": "Reject", "queuing": {}}));
    assert_eq!(rejecting, ["spec.limited.limitResponse.queuing"]);
}
