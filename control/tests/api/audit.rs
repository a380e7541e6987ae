//! The audit log of a real server.

use serde_json::{Value, json};

use crate::support::hooks::{Hook, Say};
use crate::support::http::send;
use crate::support::{Control, eventually};

const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [system:kube-controller-manager, system:kube-scheduler, system:apiserver]}
- {level: Metadata, resources: [{resources: [secrets]}]}
- {level: RequestResponse, resources: [{resources: [configmaps]}]}
- {level: Metadata, nonResourceURLs: [/version]}
";

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn control(folder: &tempfile::TempDir, log: &str) -> Control {
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let (policy, log) = (policy.display().to_string(), folder.path().join(log));
    let log = log.display().to_string();
    Control::start(&["--audit-policy-file", &policy, "--audit-log-path", &log]).await
}

fn lines(folder: &tempfile::TempDir, log: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path().join(log)).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"colour": "red"}})
}

#[tokio::test]
async fn requests_are_recorded_as_far_as_the_policy_wants() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(&folder, "audit.log").await;
    control.post(MAPS, &map("one")).await.expect(201);
    let secret = json!({"metadata": {"generateName": "s-"}, "stringData": {"word": "hidden"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    control.post(secrets, &secret).await.expect(201);
    control
        .get("/api/v1/namespaces/default/pods")
        .await
        .expect(200);
    let headers = [("impersonate-user", "jane")];
    let refused = send(&control.client, http::Method::GET, MAPS, &headers, "").await;
    refused.expect(403);
    let all = eventually("all events", || async {
        let all = lines(&folder, "audit.log");
        let about: Vec<_> = all
            .into_iter()
            .filter(|event| event["objectRef"].is_object())
            .collect();
        (about.len() >= 3).then_some(about)
    })
    .await;
    let [made, secret, refused] = &all[..] else {
        panic!("{all:#?}");
    };
    assert_eq!(made["objectRef"]["resource"], "configmaps");
    assert_eq!(made["objectRef"]["name"], "one");
    assert_eq!(made["user"]["username"], "admin");
    assert_eq!(made["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(made["requestObject"]["data"]["colour"], "red");
    assert_eq!(made["responseObject"]["data"]["colour"], "red");
    assert!(
        secret["objectRef"]["name"]
            .as_str()
            .unwrap()
            .starts_with("s-")
    );
    assert!(!secret.to_string().contains("hidden"));
    assert_eq!(refused["impersonatedUser"]["username"], "jane");
    assert_eq!(
        refused["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
}

#[tokio::test]
async fn a_log_that_nobody_takes_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let control = control(&folder, "pipe").await;
    let before = control.rss();
    let mut large = map("one");
    large["data"]["text"] = "x".repeat(900_000).into();
    for number in 0..40 {
        large["metadata"]["name"] = format!("m{number}").into();
        let path = format!("{MAPS}?dryRun=All");
        control.post(&path, &large).await.expect(201);
    }
    let told = control.log().matches("events are lost").count();
    assert_eq!(told, 1, "{}", control.log());
    let grown = control.rss().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB for some 70 MB of events");
    // Ends with the server, which has the pipe open at both ends.
    let taken = std::fs::File::create(folder.path().join("taken")).unwrap();
    let mut cat = std::process::Command::new("cat");
    let mut cat = cat.arg(&path).stdout(taken).spawn().unwrap();
    eventually("the log is taken up again", || async {
        control.log().contains("keeps up again").then_some(())
    })
    .await;
    drop(control);
    cat.wait().unwrap();
    let text = std::fs::read_to_string(folder.path().join("taken")).unwrap();
    let whole = text.lines().map(serde_json::from_str::<Value>);
    let whole = whole.collect::<Result<Vec<_>, _>>().unwrap();
    assert!(!whole.is_empty());
}

#[tokio::test]
async fn a_full_disk_stops_nobody_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full")).unwrap();
    let control = control(&folder, "full").await;
    for name in ["one", "two", "three"] {
        control.post(MAPS, &map(name)).await.expect(201);
    }
    eventually("the log tells it", || async {
        let told = control
            .log()
            .matches("the audit log cannot be written")
            .count();
        (told == 1).then_some(())
    })
    .await;
}

/// A policy that records the writes of ConfigMaps, and a kubeconfig that leads to `sink`.
fn posted_to(folder: &tempfile::TempDir, sink: &Hook) -> (String, String) {
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
         - {level: Metadata, verbs: [create], resources: [{resources: [configmaps]}], \
            namespaces: [default]}\n- {level: None}\n";
    let config = json!({"current-context": "c", "users": [{"name": "u", "user": {"token": "abc"}}],
        "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u"}}],
        "clusters": [{"name": "s", "cluster": {"certificate-authority-data": sink.bundle(),
            "server": format!("https://127.0.0.1:{}/events", sink.port())}}]});
    let paths = ["policy.yaml", "kubeconfig"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], policy).unwrap();
    std::fs::write(&paths[1], config.to_string()).unwrap();
    let [policy, config] = paths.map(|path| path.display().to_string());
    (policy, config)
}

/// The maps that the lists told of, list by list; those that the cluster makes are left out.
fn told(sink: &Hook) -> Vec<Vec<String>> {
    let lists = sink.seen().into_iter();
    let names = lists.map(|list| {
        assert_eq!(list["kind"], "EventList");
        let items = list["items"].as_array().unwrap().clone().into_iter();
        // What the cluster makes may have failed, and has no name then.
        let names = items.filter_map(|event| Some(event["objectRef"]["name"].as_str()?.to_owned()));
        names.filter(|name| name.starts_with("own")).collect()
    });
    names
        .filter(|names: &Vec<String>| !names.is_empty())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_posted_in_lists() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Hook::start(|_| Say::Text("{}".to_owned())).await;
    let (policy, config) = posted_to(&folder, &sink);
    let control = Control::start(&[
        "--audit-policy-file",
        &policy,
        "--audit-webhook-config-file",
        &config,
        "--audit-webhook-batch-max-size=3",
        "--audit-webhook-batch-max-wait=1h",
    ])
    .await;
    for number in 0..9 {
        let made = map(&format!("own{number}"));
        control.post(MAPS, &made).await.expect(201);
    }
    // Full lists go at once; what else waits goes with the last of them, or never in this test.
    eventually("lists", || async {
        (told(&sink).concat().len() >= 6).then_some(())
    })
    .await;
    for list in sink.seen() {
        assert_eq!(list["items"].as_array().unwrap().len(), 3);
    }
    let names = told(&sink).concat();
    let wanted = (0..names.len()).map(|number| format!("own{number}"));
    assert!(wanted.eq(names.iter().cloned()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_for_a_webhook_that_blocks_but_not_for_one_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (open, gate) = tokio::sync::watch::channel(false);
    let sink = Hook::start(move |list| {
        if list["items"].to_string().contains("own-slow") {
            // What else this worker has to do goes to others: the next task in line is not stolen.
            tokio::task::block_in_place(|| {
                // Nobody opens it any more if the test has failed.
                while !*gate.borrow() && gate.has_changed().is_ok() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            });
        }
        Say::Text("{}".to_owned())
    })
    .await;
    let (policy, config) = posted_to(&folder, &sink);
    let control = Control::start(&[
        "--audit-policy-file",
        &policy,
        "--audit-webhook-config-file",
        &config,
        "--audit-webhook-mode=blocking",
        "--audit-webhook-initial-backoff=50ms",
    ])
    .await;
    control.post(MAPS, &map("own-one")).await.expect(201);
    assert_eq!(
        told(&sink).concat(),
        ["own-one"],
        "the answer was there first"
    );
    let client = control.client.clone();
    let slow = tokio::spawn(async move {
        let json = [("content-type", "application/json")];
        let body = map("own-slow").to_string();
        send(&client, http::Method::POST, MAPS, &json, body).await
    });
    eventually("it is carried out", || async {
        let path = format!("{MAPS}/own-slow");
        (control.get(&path).await.code == 200).then_some(())
    })
    .await;
    eventually("its event is on the way", || async {
        told(&sink)
            .concat()
            .contains(&"own-slow".to_owned())
            .then_some(())
    })
    .await;
    assert!(!slow.is_finished(), "nobody has taken its event yet");
    open.send(true).unwrap();
    slow.await.unwrap().expect(201);
    // A server that is not there any more.
    drop(sink);
    control.post(MAPS, &map("own-lost")).await.expect(201);
    eventually("the loss is told", || async {
        control.log().contains("events are lost").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_waits_for_a_log_that_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let (policy, log) = (policy.display().to_string(), folder.path().join("log"));
    let place = log.display().to_string();
    let control = Control::start(&[
        "--audit-policy-file",
        &policy,
        "--audit-log-path",
        &place,
        "--audit-log-mode=blocking",
    ])
    .await;
    for number in 0..20 {
        let name = format!("own{number}");
        control.post(MAPS, &map(&name)).await.expect(201);
        let there = lines(&folder, "log").into_iter();
        let mut there = there.filter(|event| event["objectRef"]["name"] == name.as_str());
        let event = there.next().expect("the event before the answer");
        assert_eq!(event["stage"], "ResponseComplete");
        assert_eq!(event["responseObject"]["metadata"]["name"], name.as_str());
    }
}

/// What the server says when it does not start.
fn refused(policy: &str, log: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, policy).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args(["serve", "--listen", "127.0.0.1:0", "--advertise-address"])
        .args(["192.0.2.1", "--audit-log-path", log, "--data-dir"])
        .arg(folder.path())
        .arg("--audit-policy-file")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap_or_default();
    assert!(!folder.path().join("store.redb").exists(), "{text}");
    last.to_owned()
}

#[test]
fn a_policy_without_sense_and_a_log_without_a_place_are_one_error_each() {
    let said = refused(&POLICY.replace("users:", "user:"), "-");
    assert!(
        said.contains("policy.yaml: is no audit policy") && said.contains("user"),
        "{said}"
    );
    let said = refused(&POLICY.replace("/version", "version"), "-");
    assert!(said.contains("rules[3].nonResourceURLs"), "{said}");
    let said = refused(POLICY, "/nowhere/audit.log");
    assert!(said.contains("audit log /nowhere/audit.log"), "{said}");
}

/// The annotations of the events about `name`, once it has some beside those of authorization.
async fn annotations(folder: &tempfile::TempDir, name: &str) -> Value {
    eventually("the event with its annotations", || async {
        let all = lines(folder, "audit.log").into_iter();
        let mut about = all.filter(|event| event["objectRef"]["name"] == name);
        let mut found = about.next()?["annotations"].clone();
        let members = found.as_object_mut().unwrap();
        members.retain(|key, _| !key.starts_with("authorization.k8s.io/"));
        Some(found)
    })
    .await
}

#[tokio::test]
async fn admission_leaves_its_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(&folder, "audit.log").await;
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let maps = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]});
    let hook = Hook::start(|_| {
        Say::Response(json!({"allowed": true, "auditAnnotations": {"seen": "by the hook"}}))
    })
    .await;
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "default"}});
    let hook = json!({"metadata": {"name": "h"}, "webhooks": [{"name": "h.naru.test",
        "clientConfig": hook.config(), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [maps], "namespaceSelector": selector}]});
    let path = format!("{admission}/validatingwebhookconfigurations");
    control.post(&path, &hook).await.expect(201);
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [maps], "namespaceSelector": selector},
        "validations": [{"expression": "true"},
            {"expression": "object.data.colour != 'red'", "message": "no red"}],
        "auditAnnotations": [
            {"key": "colour", "valueExpression": "'it is ' + object.data.colour"},
            {"key": "nothing", "valueExpression": "null"}]}});
    let path = format!("{admission}/validatingadmissionpolicies");
    let made = control.post(&path, &policy).await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.expect(201);
    let binding = json!({"metadata": {"name": "b"},
        "spec": {"policyName": "p", "validationActions": ["Audit"]}});
    let path = format!("{admission}/validatingadmissionpolicybindings");
    control.post(&path, &binding).await.expect(201);
    control.post(MAPS, &map("noted")).await.expect(201);
    let violation = "[{\"binding\":\"b\",\"expressionIndex\":1,\"message\":\"no red\",\
        \"policy\":\"p\",\"validationActions\":[\"Audit\"]}]";
    assert_eq!(
        annotations(&folder, "noted").await,
        json!({"h.naru.test/seen": "by the hook", "p/colour": "it is red",
            "validation.policy.admission.k8s.io/validation_failure": violation})
    );
}

#[tokio::test]
async fn what_hooks_change_and_leave_undone_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(&folder, "audit.log").await;
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let patch = json!([{"op": "test", "path": "/data/shape", "value": null},
        {"op": "add", "path": "/data/shape", "value": "round"}]);
    let first = patch.clone();
    let changes = Hook::start(move |_| Say::patch(&first)).await;
    let confused = Hook::start(|_| Say::Text("what?".into())).await;
    let hook = |name: &str, hook: &Hook| {
        json!({"name": format!("{name}.naru.test"), "clientConfig": hook.config(),
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}})
    };
    let [changes, confused] = [hook("changes", &changes), hook("confused", &confused)];
    let mutating = json!({"metadata": {"name": "m"}, "webhooks": [changes, confused]});
    let path = format!("{admission}/mutatingwebhookconfigurations");
    control.post(&path, &mutating).await.expect(201);
    let validating = json!({"metadata": {"name": "v"}, "webhooks": [confused]});
    let path = format!("{admission}/validatingwebhookconfigurations");
    control.post(&path, &validating).await.expect(201);
    control.post(MAPS, &map("hooked")).await.expect(201);
    let about = |name: &str, key: &str, value: Value| {
        let hook = format!("{name}.naru.test");
        json!({"configuration": "m", "webhook": hook, key: value})
    };
    let mut patched = about("changes", "patch", patch);
    patched["patchType"] = "JSONPatch".into();
    let key = |what: &str, place| format!("{what}.webhook.admission.k8s.io/round_0_index_{place}");
    assert_eq!(
        annotations(&folder, "hooked").await,
        json!({
            key("mutation", 0): about("changes", "mutated", true.into()).to_string(),
            key("patch", 0): patched.to_string(),
            key("mutation", 1): about("confused", "mutated", false.into()).to_string(),
            key("failed-open.mutation", 1): "confused.naru.test",
            key("failed-open.validating", 0): "confused.naru.test"
        })
    );
}

#[tokio::test]
async fn pod_security_tells_the_log_what_it_enforces_and_what_it_only_notes() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
        rules: [{level: Metadata, resources: [{resources: [pods]}]}]\n";
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, policy).unwrap();
    let (path, log) = (path.display().to_string(), folder.path().join("audit.log"));
    let log = log.display().to_string();
    let flags = ["--audit-policy-file", &path, "--audit-log-path", &log];
    let control = Control::start(&flags).await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/audit-version": "v1.25"});
    let namespace = json!({"metadata": {"name": "judged", "labels": labels}});
    control
        .post("/api/v1/namespaces", &namespace)
        .await
        .expect(201);
    let pod = json!({"metadata": {"name": "lax"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/judged/pods";
    control.post(pods, &pod).await.expect(201);
    let found = annotations(&folder, "lax").await;
    assert_eq!(
        found["pod-security.kubernetes.io/enforce-policy"],
        "baseline:latest"
    );
    let violations = &found["pod-security.kubernetes.io/audit-violations"];
    let text = violations.as_str().unwrap();
    let start = "would violate PodSecurity \"restricted:v1.25\": allowPrivilegeEscalation != false";
    assert!(text.starts_with(start), "{text}");
}
