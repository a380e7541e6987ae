use serde_json::{Value, json};

use super::level::{Level, Standard, Version};
use super::{complaint, is_stricter, matters, summary};

fn standard(level: Level, version: Version) -> Standard {
    Standard { level, version }
}

const BASELINE: Standard = Standard {
    level: Level::Baseline,
    version: Version::Latest,
};
const RESTRICTED: Standard = Standard {
    level: Level::Restricted,
    version: Version::Latest,
};

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

/// A pod whose only container has this context.
fn with(context: Value) -> Value {
    pod(json!({"containers": [{"name": "c", "image": "i", "securityContext": context}]}))
}

fn hardened() -> Value {
    with(
        json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}),
    )
}

#[test]
fn a_plain_pod_is_fine_for_the_baseline_and_hears_all_that_restricted_wants() {
    let plain = pod(json!({"containers": [{"name": "c", "image": "i"}]}));
    assert_eq!(complaint(BASELINE, &plain), None);
    assert_eq!(
        complaint(RESTRICTED, &plain).unwrap(),
        "allowPrivilegeEscalation != false (container \"c\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \
         \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or \
         container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
         container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")"
    );
    assert_eq!(complaint(RESTRICTED, &hardened()), None);
    let privileged = standard(Level::Privileged, Version::Latest);
    assert_eq!(
        complaint(privileged, &with(json!({"privileged": true}))),
        None
    );
}

#[test]
fn each_check_of_the_baseline_finds_its_own() {
    let container = |extra: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        let members = extra.as_object().unwrap().clone();
        container.as_object_mut().unwrap().extend(members);
        pod(json!({"containers": [container]}))
    };
    let table = [
        (
            with(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            with(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "SYS_ADMIN"]}})),
            "non-default capabilities (container \"c\" must not include \"NET_RAW\", \"SYS_ADMIN\" \
             in securityContext.capabilities.add)",
        ),
        (
            pod(json!({"hostNetwork": true, "hostIPC": true, "containers": []})),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            pod(
                json!({"containers": [], "volumes": [{"name": "a", "hostPath": {"path": "/"}},
            {"name": "b", "hostPath": {"path": "/"}}]}),
            ),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            container(json!({"ports": [{"containerPort": 1, "hostPort": 80}]})),
            "hostPort (container \"c\" uses hostPort 80)",
        ),
        (
            container(json!({"livenessProbe": {"httpGet": {"host": "h", "port": 1}}})),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
        (
            with(json!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            with(json!({"seLinuxOptions": {"type": "spc_t", "user": "u"}})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \
             \"spc_t\"; user may not be set)",
        ),
        (
            with(json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \
             \"Unconfined\")",
        ),
        (
            pod(json!({"containers": [], "securityContext": {"sysctls": [
            {"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}]}})),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            with(json!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (container \"c\" must not set \
             securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            with(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \
             \"Unconfined\")",
        ),
    ];
    for (pod, expected) in table {
        assert_eq!(complaint(BASELINE, &pod).as_deref(), Some(expected));
    }
}

#[test]
fn each_check_of_restricted_finds_its_own() {
    let mut bad = hardened();
    bad["spec"]["volumes"] = json!([{"name": "a", "hostPath": {"path": "/"}}, {"name": "b",
        "nfs": {"path": "/"}}, {"name": "t", "emptyDir": {}}]);
    assert_eq!(
        complaint(RESTRICTED, &bad).unwrap(),
        "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"hostPath\", \
         \"nfs\")"
    );
    let context = |key: &str, value: Value| {
        let mut bad = hardened();
        bad["spec"]["containers"][0]["securityContext"][key] = value;
        complaint(RESTRICTED, &bad).unwrap()
    };
    assert_eq!(
        context("runAsNonRoot", json!(false)),
        "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)"
    );
    assert_eq!(
        context("runAsUser", json!(0)),
        "runAsUser=0 (container \"c\" must not set runAsUser=0)"
    );
    assert_eq!(
        context(
            "capabilities",
            json!({"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]})
        ),
        "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in \
         securityContext.capabilities.add)"
    );
}

#[test]
fn older_standards_ask_for_less() {
    let of = |minor| standard(Level::Restricted, Version::Minor(minor));
    let plain = pod(json!({"containers": [{"name": "c", "image": "i"}]}));
    let found = complaint(of(7), &plain).unwrap();
    assert!(
        found.starts_with("runAsNonRoot") && !found.contains("seccomp"),
        "{found}"
    );
    let found = complaint(of(21), &plain).unwrap();
    assert!(
        found.contains("seccompProfile") && !found.contains("capabilities"),
        "{found}"
    );
    let sysctl = pod(json!({"containers": [], "securityContext": {"sysctls": [
        {"name": "net.ipv4.tcp_rmem"}]}}));
    let old = standard(Level::Baseline, Version::Minor(31));
    assert!(complaint(old, &sysctl).is_some());
    assert!(complaint(BASELINE, &sysctl).is_none());
}

#[test]
fn a_pod_for_windows_need_not_say_what_only_linux_has() {
    let mut windows = with(json!({"runAsNonRoot": true}));
    windows["spec"]["os"] = json!({"name": "windows"});
    assert_eq!(complaint(RESTRICTED, &windows), None);
}

#[test]
fn a_new_image_or_label_is_no_reason_to_look_again() {
    let old = hardened();
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "j".into();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert!(!matters(&new, &old));
    new["spec"]["containers"][0]["securityContext"]["privileged"] = true.into();
    assert!(matters(&new, &old));
}

#[test]
fn a_stricter_namespace_tells_which_pods_are_not() {
    assert!(is_stricter(RESTRICTED, BASELINE));
    assert!(!is_stricter(BASELINE, RESTRICTED));
    assert!(!is_stricter(BASELINE, BASELINE));
    let mut second = with(json!({"privileged": true}));
    second["metadata"]["name"] = "q".into();
    let pods = [with(json!({"privileged": true})), second, hardened()];
    assert_eq!(
        summary(pods.into_iter(), BASELINE, "shop"),
        [
            "existing pods in namespace \"shop\" violate the new PodSecurity enforce level \
             \"baseline:latest\"",
            "p (and 1 other pod): privileged"
        ]
    );
}
