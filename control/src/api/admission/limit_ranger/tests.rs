use serde_json::{Value, json};

use super::{Limit, bounds, defaults};

fn limit(limit: Value) -> Limit {
    let range = json!({"spec": {"limits": [limit]}});
    Limit::of_range(&range).pop().unwrap()
}

fn pod(resources: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "resources": resources}]}})
}

#[test]
fn defaults_fill_in_what_is_missing_and_are_noted() {
    let limit = limit(
        json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"},
        "defaultRequest": {"cpu": "100m"}}),
    );
    let mut one = pod(json!({"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi"}}));
    defaults::complete(&limit, &mut one);
    assert_eq!(
        one["spec"]["containers"][0]["resources"],
        json!({"limits": {"memory": "2Gi", "cpu": "1"},
            "requests": {"memory": "2Gi", "cpu": "100m"}})
    );
    assert_eq!(
        one["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let again = one.clone();
    defaults::complete(&limit, &mut one);
    assert_eq!(one["spec"], again["spec"]);
}

#[test]
fn containers_have_bounds_each() {
    let limit = limit(
        json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"},
        "maxLimitRequestRatio": {"cpu": "2"}}),
    );
    let faults = |resources: Value| bounds::of_pod(&limit, &pod(resources));
    assert_eq!(
        faults(json!({})),
        [
            "minimum cpu usage per Container is 100m.  No request is specified",
            "maximum cpu usage per Container is 1.  No limit is specified",
            "cpu max limit to request ratio per Container is 2, but no request is specified or \
             request is 0",
        ]
    );
    assert_eq!(
        faults(json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "2"}})),
        [
            "minimum cpu usage per Container is 100m, but request is 50m",
            "maximum cpu usage per Container is 1, but limit is 2",
            "cpu max limit to request ratio per Container is 2, but provided ratio is 40.000000",
        ]
    );
    let good = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "400m"}});
    assert!(faults(good).is_empty());
}

#[test]
fn pods_are_added_up_and_claims_have_requests_only() {
    let limit_of_pods = limit(json!({"type": "Pod", "max": {"memory": "1Gi"}}));
    let resources = json!({"limits": {"memory": "600Mi"}});
    let mut two = pod(resources.clone());
    assert!(bounds::of_pod(&limit_of_pods, &two).is_empty());
    let containers = two["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "d", "resources": resources}));
    assert_eq!(
        bounds::of_pod(&limit_of_pods, &two),
        ["maximum memory usage per Pod is 1Gi, but limit is 1200Mi"]
    );
    let of_claims = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"},
        "max": {"storage": "5Gi"}});
    let of_claims = limit(of_claims);
    let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    assert!(bounds::of_claim(&of_claims, &claim("2Gi")).is_empty());
    assert_eq!(
        bounds::of_claim(&of_claims, &claim("8Gi")),
        ["maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 8Gi"]
    );
}
