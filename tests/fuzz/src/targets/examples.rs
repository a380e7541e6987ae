//! Requests that are right, one list for each theme, and the objects that they are about.

use serde_json::{Value, json};

use super::requests::BOATS;

/// What is there before anybody asks.
pub(super) fn there() -> Vec<(&'static str, Value)> {
    vec![
        (
            "/api/v1/namespaces",
            json!({"metadata": {"name": "default"}}),
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "there", "labels": {"app": "web"}}, "data": {"a": "1"}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            deployment("there"),
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition(
                "boats",
                "self.oars >= 0 && self.crew.all(c, c.startsWith('a'))",
            ),
        ),
    ]
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web",
                    "image": "web:1",
                    "ports": [{"containerPort": 80, "name": "http"}],
                    "env": [{"name": "A", "value": "1"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                }]},
            },
        },
    })
}

fn definition(plural: &str, rule: &str) -> Value {
    let spec = json!({
        "type": "object",
        "required": ["oars"],
        "x-kubernetes-validations": [{"rule": rule, "messageExpression": "'no: ' + string(self.oars)"}],
        "properties": {
            "oars": {"type": "integer", "minimum": 0, "maximum": 100, "default": 2},
            "name": {"type": "string", "maxLength": 20, "pattern": "^[a-z]*$"},
            "port": {"x-kubernetes-int-or-string": true},
            "crew": {"type": "array", "maxItems": 9, "x-kubernetes-list-type": "set",
                "items": {"type": "string", "maxLength": 9}},
            "places": {"type": "object", "additionalProperties": {"type": "number"}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.org")},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": "Boat"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {},
                    "scale": {"specReplicasPath": ".spec.oars", "statusReplicasPath": ".status.n"}},
                "additionalPrinterColumns": [
                    {"name": "Oars", "type": "integer", "jsonPath": ".spec.oars"}],
                "selectableFields": [{"jsonPath": ".spec.name"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}

fn boat() -> Value {
    json!({
        "apiVersion": "example.org/v1",
        "kind": "Boat",
        "metadata": {"name": "boat"},
        "spec": {"oars": 4, "name": "ferry", "port": "http", "crew": ["ann", "abe"],
            "places": {"bow": 0.5}, "any": {"a": [1, null]}},
    })
}

fn request(method: &str, path: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!("{method} {path} {content_type}\n\n{body}").into_bytes()
}

fn post(path: &str, object: &Value) -> Vec<u8> {
    request("POST", path, "application/json", &object.to_string())
}

pub(super) fn objects() -> Vec<Vec<u8>> {
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"generateName": "a-"},
        "spec": deployment("a")["spec"]["template"]["spec"]});
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort",
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http",
        "nodePort": 30080}], "ipFamilyPolicy": "PreferDualStack"}});
    let policy = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}, "ingress": [{
        "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
        "ports": [{"port": 80, "endPort": 90}]}]}});
    let cron = json!({"metadata": {"name": "c"}, "spec": {"schedule": "*/5 1-3 * JAN mon",
        "timeZone": "Asia/Seoul", "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}}}}});
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"},
        "user": "jane"}});
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\n  annotations: {a: \"1\"}\n\
        data:\n  a: |\n    two\n    lines\n  b: >-\n    folded\nbinaryData:\n  c: aGk=\n";
    let maps = "/api/v1/namespaces/default/configmaps?fieldValidation=Strict";
    // A ConfigMap called "m" in protobuf: magic, TypeMeta, raw bytes with metadata and data.
    let mut proto = b"POST /api/v1/namespaces/default/configmaps \
        application/vnd.kubernetes.protobuf\n\nk8s\0"
        .to_vec();
    proto.extend(
        b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01m\x12\x06\x0a\x01a\x12\x011",
    );
    vec![
        request("POST", maps, "application/yaml", yaml),
        proto,
        post(pods, &pod),
        post("/api/v1/namespaces/default/services", &service),
        post(
            "/apis/apps/v1/namespaces/default/deployments",
            &deployment("new"),
        ),
        post(
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            &policy,
        ),
        post("/apis/batch/v1/namespaces/default/cronjobs", &cron),
        post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &review,
        ),
        post(BOATS, &boat()),
        request(
            "PUT",
            "/api/v1/namespaces/default/configmaps/there",
            "application/json",
            r#"{"metadata":{"name":"there"},"data":{"a":"2","a":"3"}}"#,
        ),
        request(
            "DELETE",
            "/api/v1/namespaces/default/configmaps/there",
            "application/json",
            r#"{"kind":"DeleteOptions","propagationPolicy":"Foreground","preconditions":{"uid":"x"}}"#,
        ),
    ]
}

pub(super) fn patches() -> Vec<Vec<u8>> {
    let (map, deployment) = (
        "/api/v1/namespaces/default/configmaps/there",
        "/apis/apps/v1/namespaces/default/deployments/there",
    );
    let patch = |path: &str, kind: &str, body: &str| {
        request("PATCH", path, &format!("application/{kind}"), body)
    };
    let apply = "?fieldManager=a&force=true";
    vec![
        patch(
            map,
            "json-patch+json",
            r#"[{"op":"test","path":"/data/a","value":"1"},{"op":"add","path":"/data/b","value":"2"},
                {"op":"copy","from":"/data/b","path":"/data/c"},{"op":"remove","path":"/data/a"}]"#,
        ),
        patch(
            map,
            "merge-patch+json",
            r#"{"data":{"a":null,"b":"2"},"metadata":{"labels":null}}"#,
        ),
        patch(
            deployment,
            "strategic-merge-patch+json",
            r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"},"template":{"spec":{
                "$setElementOrder/containers":[{"name":"b"},{"name":"web"}],
                "containers":[{"name":"b","image":"b"},{"name":"web","$patch":"delete"}]}}}}"#,
        ),
        patch(
            &format!("{deployment}{apply}"),
            "apply-patch+yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: there}\nspec:\n  replicas: 5\n  \
             template: {spec: {containers: [{name: web, env: [{name: B, value: '2'}]}]}}\n",
        ),
        patch(
            map,
            "merge-patch+json",
            r#"{"metadata":{"managedFields":[{"manager":"a","operation":"Apply","apiVersion":"v1",
                "fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:a":{}},"f:x":{"k:{\"a\":1}":{".":{}},
                "v:1":{}}}}]}}"#,
        ),
        patch(
            &format!("{deployment}/scale"),
            "merge-patch+json",
            r#"{"spec":{"replicas":3}}"#,
        ),
        patch(
            &format!("{deployment}/status"),
            "merge-patch+json",
            r#"{"status":{"replicas":3}}"#,
        ),
        patch(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.example.org",
            "json-patch+json",
            r#"[{"op":"replace","path":"/spec/versions/0/served","value":false}]"#,
        ),
    ]
}

pub(super) fn queries() -> Vec<Vec<u8>> {
    let token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTAsInN0YXJ0IjoiYS9iXHUwMDAwIn0";
    [
        "/api/v1/configmaps?labelSelector=app%20in%20(web,api),!old,tier!=x,a%3Db&limit=1",
        "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dthere,metadata.namespace!=x",
        &format!("/api/v1/configmaps?limit=2&continue={token}"),
        "/api/v1/configmaps?resourceVersion=1&resourceVersionMatch=NotOlderThan",
        "/api/v1/configmaps?watch=1&resourceVersion=0&timeoutSeconds=1&allowWatchBookmarks=true",
        "/apis/apps/v1/namespaces/default/deployments/there/scale?pretty=1",
        "/apis/apps/v1/watch/namespaces/default/deployments/there?timeoutSeconds=1",
        "/api/v1/namespaces/default/pods/a/log?follow=1&tailLines=3&sinceTime=2026-01-01T00:00:00Z",
        "/apis/example.org/v1/boats?fieldSelector=spec.name%3Dferry",
        "/openapi/v3/apis/apps/v1?hash=A",
        "/apis/../api/v1/%2e%2e/nodes",
    ]
    .map(|path| format!("GET {path}\naccept: application/json\n\n").into_bytes())
    .into()
}

pub(super) fn expressions() -> Vec<Vec<u8>> {
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = |expression: &str| {
        json!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["deployments"]}]},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [{"expression": expression, "messageExpression": "'n ' + string(variables.n)"}]}})
    };
    let rules = [
        "object.spec.replicas <= 5 && variables.n > 0",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('a') || has(c.resources))",
        "object.metadata.?labels[?'app'].orValue('') in ['web', \"api\"]",
        "quantity('1Gi').isGreaterThan(quantity('500Mi')) && ip('10.0.0.1').family() == 4",
        "[1, 2, 3].map(x, x * 2).filter(x, x > 2).size() == 2 ? true : false",
        "duration('1h') < timestamp('2026-01-01T00:00:00Z') - timestamp('2025-01-01T00:00:00Z')",
        "'a-%s'.format([string(1.5)]).matches('^a.*$') && url('https://a/b').getHost() == 'a'",
    ];
    let mut all: Vec<_> = rules.map(|rule| post(policies, &policy(rule))).into();
    // Rules of definitions are run as well: at the defaults, and over objects.
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    all.push(post(
        path,
        &definition("rafts", "self.oars + 1 > 1 && !has(self.any)"),
    ));
    all.push(post(BOATS, &boat()));
    all
}

pub(super) fn definitions() -> Vec<Vec<u8>> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut converted = definition("rafts", "true");
    converted["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/c"}}});
    let mut second = converted["spec"]["versions"][0].clone();
    second["name"] = json!("v2beta1");
    second["storage"] = json!(false);
    if let Some(versions) = converted["spec"]["versions"].as_array_mut() {
        versions.push(second);
    }
    vec![
        post(path, &definition("rafts", "self.oars > 0")),
        post(path, &converted),
        post(BOATS, &boat()),
        request(
            "PATCH",
            &format!("{path}/boats.example.org"),
            "application/merge-patch+json",
            r#"{"spec":{"names":{"shortNames":["b"],"categories":["all"]},"preserveUnknownFields":false}}"#,
        ),
    ]
}

pub(super) fn headers() -> Vec<Vec<u8>> {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.5";
    let kept =
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let found = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let map = "/api/v1/namespaces/default/configmaps/there";
    [
        format!("GET /api/v1/configmaps\naccept: {table}\n\n"),
        format!("GET /api/v1/configmaps\naccept: {kept}\naccept-encoding: gzip;q=1, *;q=0\n\n"),
        format!("GET {map}\naccept: application/yaml\nuser-agent: kubectl/v1.33\n\n"),
        format!("GET /apis\naccept: {found}\n\n"),
        "GET /openapi/v2\naccept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf\n\n"
            .to_owned(),
        "POST /api/v1/namespaces application/json\nimpersonate-user: jane\nimpersonate-group: g\n\
         impersonate-extra-a%20b: c\nimpersonate-uid: 1\n\n{\"metadata\":{\"name\":\"a\"}}"
            .to_owned(),
        "POST /api/v1/namespaces/default/pods/a/exec?command=sh\nupgrade: websocket\n\
         connection: upgrade\nsec-websocket-protocol: v5.channel.k8s.io\n\n"
            .to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

pub(super) fn strangers() -> Vec<Vec<u8>> {
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJhIiwiZXhwIjo5OTk5OTk5OTk5fQ.c2ln";
    [
        format!("GET /api/v1/namespaces/default/configmaps\nauthorization: Bearer {token}\n\n"),
        "GET /api/v1/pods\nauthorization: Bearer abcdef.0123456789abcdef\n\n".to_owned(),
        "GET /api\nx-remote-user: jane\nx-remote-group: system:masters\n\n".to_owned(),
        "GET /version\naccept-encoding: gzip\n\n".to_owned(),
        "GET /readyz?verbose\n\n".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}
