use serde_json::json;

use super::hook::Hook;

#[test]
fn a_configuration_is_read_with_its_defaults() {
    let hook = Hook::of(&json!({"name": "a.b.c", "failurePolicy": "Ignore",
        "sideEffects": "NoneOnDryRun", "timeoutSeconds": 99, "reinvocationPolicy": "IfNeeded",
        "admissionReviewVersions": ["v1beta1"],
        "clientConfig": {"caBundle": "!", "service": {"namespace": "n", "name": "s"}}}));
    assert!(hook.ignore && hook.dry && hook.reinvoke && !hook.current);
    assert_eq!(hook.remote.timeout.as_secs(), 30);
    assert!(hook.remote.tls.is_err());
}
