//! The pod runtime against a real containerd: pods in the node's network, so that no CNI plugin
//! and no data path is needed. The API is a few verbs over a map; `tests/e2e` has the real one.
//!
//! Needs root, containerd, runc and a static busybox; a machine without them skips, loudly.

mod api;
mod containerd;
mod fixture;

use std::time::{Duration, Instant};

use fixture::Fixture;
use serde_json::json;

/// A shell that runs `script`; it ends at once on SIGTERM.
fn shell(script: &str) -> serde_json::Value {
    json!({
        "name": "main", "image": containerd::IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/busybox", "sh", "-c", format!("trap 'exit 0' TERM; {script}")],
    })
}

const WAIT: &str = "while true; do /bin/busybox sleep 1 & wait $!; done";

fn pod_with(name: &str, mut spec: serde_json::Value) -> serde_json::Value {
    spec["hostNetwork"] = json!(true);
    spec["nodeName"] = json!("pt-node");
    spec["terminationGracePeriodSeconds"] = json!(5);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_with_its_configuration_and_leaves_nothing_behind() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    node.api
        .put("configmaps", "cfg", json!({"data": {"greeting": "hello"}}));
    node.api
        .put("secrets", "sec", json!({"data": {"key": "c2VjcmV0"}}));
    let mut container = shell(&format!(
        "echo $GREETING $NAME; /bin/busybox cat /etc/cfg/greeting /etc/sec/key /etc/mem/x 2>&1; {WAIT}"
    ));
    container["env"] = json!([
        {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "greeting"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]);
    container["volumeMounts"] = json!([
        {"name": "cfg", "mountPath": "/etc/cfg"}, {"name": "sec", "mountPath": "/etc/sec"},
        {"name": "mem", "mountPath": "/etc/mem"},
    ]);
    container["resources"] = json!({"limits": {"memory": "32Mi", "cpu": "500m"}});
    let uid = node.create(pod_with("web", json!({"containers": [container], "volumes": [
        {"name": "cfg", "configMap": {"name": "cfg"}}, {"name": "sec", "secret": {"secretName": "sec"}},
        {"name": "mem", "emptyDir": {"medium": "Memory"}},
    ]})));
    let began = Instant::now();
    node.until("web runs", |pod| pod["status"]["phase"] == "Running")
        .await;
    eprintln!("create to Running: {:?}", began.elapsed());
    let log = node
        .state()
        .join(format!("logs/default_web_{uid}/main/0.log"));
    node.wait("its output", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("hello web") && text.contains("hello") && text.contains("secret")
    })
    .await;
    let mounted = node
        .state()
        .join(format!("pods/{uid}/volumes/cfg/greeting"));
    node.api.put(
        "configmaps",
        "cfg",
        json!({"data": {"greeting": "changed"}}),
    );
    node.wait("the changed file", || {
        std::fs::read_to_string(&mounted).is_ok_and(|text| text == "changed")
    })
    .await;
    node.delete("web", 5);
    node.wait("the object's end", || node.api.pod("web").is_none())
        .await;
    assert!(node.containers().await.is_empty(), "containers left");
    assert!(
        !node.state().join(format!("pods/{uid}")).exists(),
        "directory left"
    );
    assert!(
        node.cgroups_of(&uid).is_empty(),
        "cgroups left: {:?}",
        node.cgroups_of(&uid)
    );
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(node.api.has_event(reason), "no event {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_adopts_and_restarts_nothing() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    node.create(pod_with("keep", json!({"containers": [shell(WAIT)]})));
    let before = node
        .until("keep runs", |pod| pod["status"]["phase"] == "Running")
        .await;
    node.stop_daemon().await;
    node.start_daemon();
    node.create(pod_with("next", json!({"containers": [shell(WAIT)]})));
    node.until_named("next", "next runs", |pod| {
        pod["status"]["phase"] == "Running"
    })
    .await;
    let after = node.api.pod("keep").unwrap();
    assert_eq!(
        after["status"]["containerStatuses"],
        before["status"]["containerStatuses"]
    );
    assert_eq!(node.containers().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_vanished_while_the_daemon_was_away_is_ended() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    node.create(pod_with("lost", json!({"containers": [shell(WAIT)]})));
    node.until("lost runs", |pod| pod["status"]["phase"] == "Running")
        .await;
    node.stop_daemon().await;
    node.forget("lost");
    node.start_daemon();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !node.containers().await.is_empty() {
        assert!(Instant::now() < deadline, "the orphan lives on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_container_is_restarted_once_then_backs_off() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    node.create(pod_with("crash", json!({"containers": [shell("exit 3")]})));
    let pod = node
        .until("the crash loop", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(status["restartCount"], 1);
    assert_eq!(pod["status"]["phase"], "Running");
    node.wait("the event", || node.api.has_event("BackOff"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_liveness_probe_restarts_and_a_readiness_probe_gates() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    let mut container = shell(&format!("/bin/busybox touch /tmp/ok; {WAIT}"));
    let check = json!({"exec": {"command": ["/bin/busybox", "test", "-e", "/tmp/ok"]},
        "periodSeconds": 1, "failureThreshold": 1});
    container["readinessProbe"] = check.clone();
    container["livenessProbe"] = check;
    container["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/tmp"}]);
    let uid = node.create(pod_with(
        "probed",
        json!({"containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}]}),
    ));
    node.until("it is ready", |pod| {
        pod["status"]["containerStatuses"][0]["ready"] == true
    })
    .await;
    std::fs::remove_file(node.state().join(format!("pods/{uid}/volumes/tmp/ok"))).unwrap();
    node.until("its restart", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["ready"] == true
    })
    .await;
    node.wait("the event", || node.api.has_event("Unhealthy"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_come_first_and_a_finished_pod_says_so() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    let mut init = shell("echo made > /work/file");
    init["name"] = json!("init");
    let mut main = shell("/bin/busybox cat /work/file > /dev/termination-log");
    for container in [&mut init, &mut main] {
        container["volumeMounts"] = json!([{"name": "work", "mountPath": "/work"}]);
    }
    node.create(pod_with(
        "job",
        json!({"restartPolicy": "Never", "initContainers": [init],
        "containers": [main], "volumes": [{"name": "work", "emptyDir": {}}]}),
    ));
    let pod = node
        .until("it has finished", |pod| {
            pod["status"]["phase"] == "Succeeded"
        })
        .await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&ended["exitCode"], &ended["message"]),
        (&json!(0), &json!("made\n"))
    );
    assert_eq!(ended["reason"], "Completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_had_say_why() {
    let Some(mut node) = Fixture::start().await else {
        return;
    };
    let with_image = |image: &str, policy: &str| json!({"containers": [{"name": "main", "image": image, "imagePullPolicy": policy}]});
    // Port 1 of this machine refuses at once: no registry is asked anywhere.
    node.create(pod_with(
        "pull",
        with_image("127.0.0.1:1/none:1", "IfNotPresent"),
    ));
    node.create(pod_with("never", with_image("127.0.0.1:1/none:1", "Never")));
    node.create(pod_with(
        "wrong",
        with_image("NO/Such:Name", "IfNotPresent"),
    ));
    for (name, reason) in [
        ("pull", "ErrImagePull"),
        ("never", "ErrImageNeverPull"),
        ("wrong", "InvalidImageName"),
        ("pull", "ImagePullBackOff"),
    ] {
        node.until_named(name, reason, |pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        })
        .await;
    }
    node.delete("pull", 0);
    node.wait("the object's end", || node.api.pod("pull").is_none())
        .await;
}
