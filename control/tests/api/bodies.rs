//! What a client may send, and what it hears about what it may not.

use super::*;
use http::Method;
use std::collections::BTreeSet;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

async fn post(
    control: &Control,
    media_type: &str,
    body: impl Into<Vec<u8>>,
) -> support::http::Answer {
    let headers = [("content-type", media_type)];
    control.send(Method::POST, MAPS, &headers, body).await
}

#[tokio::test]
async fn yaml_is_as_good_as_json() {
    let control = Control::start(&[]).await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: |\n    two\n    lines\n";
    let made = post(&control, YAML, yaml).await.expect(201);
    assert_eq!(made["data"]["a"], "two\nlines\n");
    let replaced = yaml.replace("two", "2");
    let headers = [("content-type", YAML)];
    let path = format!("{MAPS}/m");
    let made = control.send(Method::PUT, &path, &headers, replaced).await;
    assert_eq!(made.expect(200)["data"]["a"], "2\nlines\n");
}

/// Sends `bytes` and answers the code of the next answer, whose body is read as well.
async fn exchange(stream: &mut BufReader<TlsStream<TcpStream>>, bytes: &[u8]) -> u16 {
    stream.write_all(bytes).await.unwrap();
    let (mut code, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(support::PATIENCE, stream.read_line(&mut line)).await;
        read.expect("an answer in time").unwrap();
        if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
            code = status[..3].parse().unwrap();
        } else if let Some(long) = line.strip_prefix("content-length: ") {
            length = long.trim().parse().unwrap();
        } else if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    code
}

#[tokio::test]
async fn a_body_that_comes_after_its_refusal_does_not_end_the_connection() {
    let control = Control::start(&[]).await;
    let mut stream = BufReader::new(control.connect().await);
    let body = map("late").to_string();
    let head = |query: &str| {
        format!(
            "POST {MAPS}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
    };
    for _ in 0..3 {
        let refused = exchange(&mut stream, head("?dryRun=Some").as_bytes()).await;
        assert_eq!(refused, 422, "it says so before the body has come");
        stream.write_all(body.as_bytes()).await.unwrap();
    }
    let whole = format!("{}{body}", head(""));
    assert_eq!(exchange(&mut stream, whole.as_bytes()).await, 201);
}

#[tokio::test]
async fn malformed_bodies_are_400_and_foreign_ones_415() {
    let control = Control::start(&[]).await;
    let cases: [(&str, &[u8]); 8] = [
        (JSON, b"{\"metadata\": "),
        (JSON, b"{\"metadata\": {\"name\": \"a\",}}"),
        (JSON, b""),
        (JSON, b"[]"),
        (YAML, b"metadata: {name: a\n"),
        (YAML, b"a: b: c\n"),
        (YAML, b"- a\n- b\n"),
        (YAML, b"\xff\xfe\x00"),
    ];
    for (media_type, body) in cases {
        let why = post(&control, media_type, body).await;
        let why = why.refused(400, "BadRequest");
        assert!(why.contains("malformed"), "{media_type} {body:?}: {why}");
    }
    let wrong = json!({"metadata": {"name": "a"}, "data": {"a": 1}});
    let why = control.post(MAPS, &wrong).await.refused(400, "BadRequest");
    assert!(why.contains("data.a"), "{why}");
    for foreign in [
        "text/html",
        "text/plain",
        "application/x-www-form-urlencoded",
    ] {
        post(&control, foreign, r#"{"metadata":{"name":"a"}}"#)
            .await
            .refused(415, "UnsupportedMediaType");
    }
    assert_eq!(names(&control.get(MAPS).await.expect(200)).len(), 0);
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_and_one_below_is_not() {
    let control = Control::start(&[]).await;
    for size in [(3 << 20) + 1, 8 << 20] {
        let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(size)}});
        let why = control.post(MAPS, &large).await;
        let why = why.refused(413, "RequestEntityTooLarge");
        assert!(why.contains("3145728"), "{why}");
    }
    // Within the limit of requests, but above that of ConfigMaps.
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(2 << 20)}});
    control.post(MAPS, &large).await.refused(422, "Invalid");
    let fits = json!({"metadata": {"name": "fits"}, "data": {"a": "x".repeat(1_000_000)}});
    control.post(MAPS, &fits).await.expect(201);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_ignored_as_the_client_says() {
    let control = Control::start(&[]).await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut odd = pod("odd");
    odd["spec"]["containers"][0]["imagee"] = "i".into();
    odd["specc"] = json!({});
    let ask = |how: &str| format!("{pods}?fieldValidation={how}&dryRun=All");

    let why = control
        .post(&ask("Strict"), &odd)
        .await
        .refused(400, "BadRequest");
    for field in ["spec.containers[0].imagee", "specc"] {
        assert!(why.contains(&format!("unknown field {field:?}")), "{why}");
    }
    for path in [ask("Warn"), format!("{pods}?dryRun=All")] {
        let warned = control.post(&path, &odd).await;
        let warnings = warned.warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].starts_with("299 - \"unknown field"),
            "{warnings:?}"
        );
        warned.expect(201);
    }
    let ignored = control.post(&ask("Ignore"), &odd).await;
    assert!(ignored.warnings().is_empty());
    ignored.expect(201);
    control
        .post(&ask("Maybe"), &odd)
        .await
        .refused(422, "Invalid");
    control
        .get(&format!("{pods}/odd"))
        .await
        .refused(404, "NotFound");

    create(&control, MAPS, &map("m")).await;
    let patch = json!({"dta": {"a": "2"}});
    let path = format!("{MAPS}/m?fieldValidation=Strict");
    let refused = control
        .patch(&path, support::http::MERGE_PATCH, &patch)
        .await;
    assert!(
        refused
            .refused(400, "BadRequest")
            .contains("unknown field \"dta\"")
    );
}

#[tokio::test]
async fn an_unknown_field_that_was_let_through_is_not_kept() {
    let control = Control::start(&[]).await;
    let mut odd = map("m");
    odd["dta"] = json!({"a": "2"});
    odd["metadata"]["lables"] = json!({});
    let made = control.post(MAPS, &odd).await.expect(201);
    assert!(made["dta"].is_null() && made["metadata"]["lables"].is_null());
    let path = format!("{MAPS}/m");
    let patch = json!({"dta": {"a": "2"}, "data": {"b": "3"}});
    let patched = control
        .patch(&path, support::http::MERGE_PATCH, &patch)
        .await;
    assert_eq!(patched.warnings().len(), 1);
    assert!(patched.expect(200)["dta"].is_null());
    let mut stored = control.get(&path).await.expect(200);
    stored["data"]["c"] = "4".into();
    let strict = format!("{path}?fieldValidation=Strict");
    control.put(&strict, &stored).await.expect(200);
}

#[tokio::test]
async fn what_is_asked_for_in_vain_is_told_when_it_is_written() {
    let control = Control::start(&[]).await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut wishful = pod("wishful");
    let far = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {}});
    wishful["spec"]["affinity"]["podAntiAffinity"] =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [far]});
    let made = control.post(pods, &wishful).await;
    let warnings = made.warnings();
    assert!(
        warnings[0].contains("spec.affinity.podAntiAffinity.required"),
        "{warnings:?}"
    );
    made.expect(201);
    let status = json!({"status": {"phase": "Running"}});
    let path = format!("{pods}/wishful/status");
    let written = control
        .patch(&path, support::http::MERGE_PATCH, &status)
        .await;
    assert!(written.warnings().is_empty(), "{:?}", written.warnings());
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let secret = json!({"metadata": {"name": "secret"},
        "spec": {"tls": [{"hosts": ["a.example"]}], "defaultBackend": backend}});
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let warnings = control.post(ingresses, &secret).await.warnings();
    assert!(warnings[0].contains("spec.tls: "), "{warnings:?}");
    for (field, class) in [("runtimeClassName", "kata"), ("priorityClassName", "high")] {
        let mut pod = pod("classy");
        pod["spec"][field] = class.into();
        let why = control.post(pods, &pod).await.refused(403, "Forbidden");
        assert!(why.contains(class), "{why}");
    }
}

#[tokio::test]
async fn fields_that_occur_twice_are_treated_like_unknown_ones() {
    let control = Control::start(&[]).await;
    let body = r#"{"metadata":{"name":"twice"},"data":{"a":"1","b":"1","a":"2"}}"#;
    let headers = [("content-type", JSON)];
    let ask = |how: &str| format!("{MAPS}?fieldValidation={how}&dryRun=All");
    let strict = control
        .send(Method::POST, &ask("Strict"), &headers, body)
        .await;
    let why = strict.refused(400, "BadRequest");
    assert!(why.contains("duplicate field \"data.a\""), "{why}");
    let warned = control
        .send(Method::POST, &ask("Warn"), &headers, body)
        .await;
    assert_eq!(warned.warnings().len(), 1, "{:?}", warned.warnings());
    assert_eq!(warned.expect(201)["data"]["a"], "2");
    let ignored = control
        .send(Method::POST, &ask("Ignore"), &headers, body)
        .await;
    assert!(ignored.warnings().is_empty());
    ignored.expect(201);
}

fn causes(refusal: &Value) -> BTreeSet<&str> {
    let causes = refusal["details"]["causes"].as_array().expect("causes");
    causes
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let control = Control::start(&[]).await;
    let deployment = json!({
        "metadata": {"name": "Bad_Name", "labels": {"a b": "c"}, "annotations": {"/x": "y"},
            "finalizers": ["not qualified"]},
        "spec": {"replicas": -1, "minReadySeconds": -5, "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"type": "Sideways"},
            "template": {"metadata": {"labels": {"app": "y"}}, "spec": {
                "restartPolicy": "Sometimes",
                "containers": [
                    {"name": "c", "image": "", "ports": [{"containerPort": 99999, "protocol": "ICMP"}],
                        "env": [{"name": ""}],
                        "volumeMounts": [{"name": "nowhere", "mountPath": ""}],
                        "readinessProbe": {"periodSeconds": -1},
                        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
                    {"name": "c", "image": "i"}],
                "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}}}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let refused = control.post(path, &deployment).await.expect(422);
    assert_eq!(refused["reason"], "Invalid");
    assert_eq!(refused["details"]["kind"], "Deployment");
    let fields = causes(&refused);
    let spec = "spec.template.spec";
    let expected = [
        "metadata.name".to_owned(),
        "metadata.labels".to_owned(),
        "metadata.annotations".to_owned(),
        "metadata.finalizers".to_owned(),
        "spec.replicas".to_owned(),
        "spec.minReadySeconds".to_owned(),
        "spec.strategy.type".to_owned(),
        "spec.template.metadata.labels".to_owned(),
        format!("{spec}.restartPolicy"),
        format!("{spec}.containers[0].image"),
        format!("{spec}.containers[0].ports[0].containerPort"),
        format!("{spec}.containers[0].ports[0].protocol"),
        format!("{spec}.containers[0].env[0].name"),
        format!("{spec}.containers[0].volumeMounts[0].name"),
        format!("{spec}.containers[0].volumeMounts[0].mountPath"),
        format!("{spec}.containers[0].readinessProbe"),
        format!("{spec}.containers[0].readinessProbe.periodSeconds"),
        format!("{spec}.containers[0].resources.requests[cpu]"),
        format!("{spec}.containers[1].name"),
        format!("{spec}.volumes[0].hostPath"),
    ];
    for field in &expected {
        assert!(
            fields.contains(field.as_str()),
            "{field} is missing in {fields:#?}"
        );
    }
    let message = refused["message"].as_str().unwrap();
    assert!(
        expected.iter().all(|field| message.contains(field)),
        "{message}"
    );
}

#[tokio::test]
async fn an_update_on_stale_knowledge_is_409_and_changes_nothing() {
    let control = Control::start(&[]).await;
    let mut object = create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    object["data"]["a"] = "2".into();
    let newer = control.put(&path, &object).await.expect(200);
    object["data"]["a"] = "3".into();
    let why = control.put(&path, &object).await.refused(409, "Conflict");
    assert!(why.contains("the object has been modified"), "{why}");
    let patch = json!({"metadata": {"resourceVersion": version(&object)}, "data": {"a": "3"}});
    let stale = control
        .patch(&path, support::http::MERGE_PATCH, &patch)
        .await;
    stale.refused(409, "Conflict");
    let stale = json!({"preconditions": {"resourceVersion": version(&object)}});
    control.delete(&path, &stale).await.refused(409, "Conflict");
    let other = json!({"preconditions": {"uid": "another"}});
    control.delete(&path, &other).await.refused(409, "Conflict");
    assert_eq!(control.get(&path).await.expect(200), newer);
    // Without a version the last writer wins.
    control.put(&path, &map("a")).await.expect(200);
    let again = control.post(MAPS, &map("a")).await;
    again.refused(409, "AlreadyExists");
}

#[tokio::test]
async fn names_are_generated_from_a_prefix() {
    let control = Control::start(&[]).await;
    let wish = json!({"metadata": {"generateName": "job-"}});
    let mut made = BTreeSet::new();
    for _ in 0..20 {
        let object = create(&control, MAPS, &wish).await;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.len() == 9 && name.starts_with("job-"), "{name}");
        made.insert(name);
    }
    assert_eq!(made.len(), 20);
    let nameless = json!({"metadata": {}});
    control.post(MAPS, &nameless).await.refused(422, "Invalid");
}
