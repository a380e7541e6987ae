//! The API as kubectl sees it: the real binary, real TLS, the kubectl of this machine.

#[path = "../process/mod.rs"]
mod process;
mod session;

use process::{Control, eventually};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: \"1\"}\n";

#[test]
fn an_object_lives_from_apply_to_delete() {
    let control = Control::start();
    assert!(
        control
            .kubectl_in(&["apply", "-f", "-"], CONFIG)
            .contains("created")
    );
    assert!(
        control
            .kubectl_in(&["apply", "-f", "-"], CONFIG)
            .contains("unchanged")
    );
    let changed = CONFIG.replace("\"1\"", "\"2\"");
    assert!(
        control
            .kubectl_in(&["apply", "-f", "-"], &changed)
            .contains("configured")
    );
    assert_eq!(
        control.kubectl(&["get", "cm", "a", "-o", "jsonpath={.data.x}"]),
        "2"
    );
    control.kubectl(&["label", "cm", "a", "k=v"]);
    control.kubectl(&[
        "patch",
        "cm",
        "a",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/data/y","value":"3"}]"#,
    ]);
    control.kubectl(&[
        "patch",
        "cm",
        "a",
        "--type=merge",
        "-p",
        r#"{"data":{"x":null}}"#,
    ]);
    assert_eq!(
        control.kubectl(&["get", "cm", "-l", "k=v", "-o", "jsonpath={.items[0].data}"]),
        r#"{"y":"3"}"#
    );
    let field = [
        "get",
        "cm",
        "--field-selector",
        "metadata.name=a",
        "-o",
        "name",
    ];
    assert_eq!(control.kubectl(&field).trim(), "configmap/a");
    control.kubectl(&["delete", "cm", "a"]);
    assert!(
        control
            .kubectl_fails(&["get", "cm", "a"], "")
            .contains("NotFound")
    );
}

#[test]
fn bad_input_gets_one_clear_error() {
    let control = Control::start();
    let create = ["create", "-f", "-"];
    let unknown = CONFIG.replace("data:", "dta:");
    assert!(
        control
            .kubectl_fails(&create, &unknown)
            .contains("unknown field \"dta\"")
    );
    let invalid = CONFIG.replace("name: a", "name: A_b");
    assert!(
        control
            .kubectl_fails(&create, &invalid)
            .contains("metadata.name")
    );
    let nowhere = CONFIG.replace("name: a", "name: a, namespace: nowhere");
    assert!(
        control
            .kubectl_fails(&create, &nowhere)
            .contains("namespaces \"nowhere\" not found")
    );
    control.kubectl_in(&create, CONFIG);
    assert!(
        control
            .kubectl_fails(&create, CONFIG)
            .contains("AlreadyExists")
    );
    let stale = CONFIG.replace("name: a", "name: a, resourceVersion: \"1\"");
    assert!(
        control
            .kubectl_fails(&["replace", "-f", "-"], &stale)
            .contains("Conflict")
    );
    assert!(
        control
            .kubectl_fails(&["get", "--raw", "/apis/no.such/v1/things"], "")
            .contains("NotFound")
    );
}

#[test]
fn strangers_get_version_and_health_only() {
    let control = Control::start();
    let ask = |path: &str| {
        let url = format!("{}{path}", control.url());
        let config = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: {:?}, \
            insecure-skip-tls-verify: true}}}}]\nusers: [{{name: u, \
            user: {{username: x, password: x}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
            current-context: c\n",
            control.url()
        );
        let file = control.dir().join("stranger");
        std::fs::write(&file, config).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let output = control.try_kubectl(&["--kubeconfig", &file, "get", "--raw", path]);
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
            url,
        )
    };
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        let (success, error, _) = ask(path);
        assert!(success, "{path}: {error}");
    }
    for path in ["/api", "/apis", "/api/v1/namespaces", "/openapi/v2"] {
        let (success, error, url) = ask(path);
        assert!(
            !success && error.to_lowercase().contains("unauthorized"),
            "{url}: {error}"
        );
    }
}

#[test]
fn unknown_users_are_denied_and_nodes_do_what_nodes_do() {
    let control = Control::start();
    let sign = |user: &str, group: &str| {
        let out = control.dir().join(user.replace(':', "-"));
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
            .args([
                "kubeconfig",
                "--server",
                &control.url(),
                "--user",
                user,
                "--group",
                group,
            ])
            .arg("--data-dir")
            .arg(control.dir())
            .arg("--out")
            .arg(&out)
            .status();
        assert!(done.unwrap().success());
        out.to_str().unwrap().to_owned()
    };
    let jane = sign("jane", "people");
    let denied = control.kubectl_fails(&["--kubeconfig", &jane, "get", "pods"], "");
    assert!(denied.contains("Forbidden"), "{denied}");
    let node = sign("system:node:n1", "system:nodes");
    control.kubectl(&["--kubeconfig", &node, "get", "pods", "-A"]);
    let write = [
        "--kubeconfig",
        node.as_str(),
        "create",
        "-f",
        "-",
        "--validate=false",
    ];
    assert!(control.kubectl_fails(&write, CONFIG).contains("Forbidden"));
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut control = Control::start();
    for round in 0..5 {
        for index in 0..4 {
            let config = CONFIG.replace("name: a", &format!("name: c{round}-{index}"));
            control.kubectl_in(&["create", "-f", "-", "--validate=false"], &config);
        }
        control.kill_and_restart();
        let names = control.kubectl(&["get", "cm", "-o", "name"]);
        let kept = names
            .lines()
            .filter(|name| name.starts_with("configmap/c"))
            .count();
        assert_eq!(kept, (round + 1) * 4);
    }
    assert!(control.terminate().success());
}

#[test]
fn typed_creations_in_protobuf_are_understood() {
    let control = Control::start();
    control.kubectl(&["create", "configmap", "c", "--from-literal=a=b"]);
    assert_eq!(
        control.kubectl(&["get", "cm", "c", "-o", "jsonpath={.data.a}"]),
        "b"
    );
    control.kubectl(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    assert_eq!(
        control.kubectl(&["get", "secret", "s", "-o", "jsonpath={.data.a}"]),
        "Yg=="
    );
    control.kubectl(&["create", "namespace", "n"]);
    control.kubectl(&["create", "deployment", "d", "--image=i", "--replicas=0"]);
    assert_eq!(
        control.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.spec.replicas}"]),
        "0"
    );
    control.kubectl(&["create", "service", "nodeport", "p", "--tcp=80:8080"]);
    let port = control.kubectl(&[
        "get",
        "svc",
        "p",
        "-o",
        "jsonpath={.spec.ports[0].targetPort}",
    ]);
    assert_eq!(port, "8080");
    assert!(
        control
            .kubectl(&["create", "token", "default"])
            .starts_with("ey")
    );
}

#[test]
fn services_get_addresses_that_no_other_has() {
    let control = Control::start();
    let service = |name: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]{spec}}}\n"
        )
    };
    let create = ["create", "-f", "-"];
    control.kubectl_in(&create, &service("a", ", type: NodePort"));
    let address = control.kubectl(&["get", "svc", "a", "-o", "jsonpath={.spec.clusterIP}"]);
    let taken = service("b", &format!(", clusterIP: {address}"));
    assert!(
        control
            .kubectl_fails(&create, &taken)
            .contains("already allocated")
    );
    control.kubectl(&["delete", "svc", "a"]);
    control.kubectl_in(&create, &taken);
}

#[test]
fn a_namespace_takes_its_contents_along() {
    let control = Control::start();
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n1}\n";
    control.kubectl_in(&["create", "-f", "-"], namespace);
    control.kubectl_in(&["create", "-n", "n1", "-f", "-"], CONFIG);
    control.kubectl(&["delete", "ns", "n1", "--timeout=30s"]);
    eventually("the contents are gone", || {
        !control
            .kubectl(&["get", "cm", "-A", "-o", "name"])
            .contains("configmap/a")
    });
}

#[test]
fn people_learn_who_they_are_and_what_they_may() {
    let control = Control::start();
    let can = |args: &[&str]| control.kubectl(&[&["auth", "can-i"], args].concat());
    assert_eq!(can(&["get", "pods"]).trim(), "yes");
    assert_eq!(
        can(&["create", "deployments.apps", "-n", "kube-system"]).trim(),
        "yes"
    );
    assert!(can(&["--list"]).contains("*.*"));
    let who = control.kubectl(&["auth", "whoami"]);
    assert!(
        who.contains("admin") && who.contains("system:masters"),
        "{who}"
    );
    let other = ["auth", "can-i", "get", "pods", "--as=jane"];
    assert!(!control.try_kubectl(&other).status.success());
}

#[test]
fn unknown_kinds_are_called_unknown() {
    let control = Control::start();
    let why = control.kubectl_fails(&["get", "unicorns"], "");
    assert!(
        why.contains("the server doesn't have a resource type \"unicorns\""),
        "{why}"
    );
    let unicorn = "apiVersion: example.com/v1\nkind: Unicorn\nmetadata: {name: u}\n";
    for verb in ["create", "apply"] {
        let why = control.kubectl_fails(&[verb, "-f", "-"], unicorn);
        assert!(why.contains("no matches for kind \"Unicorn\""), "{why}");
    }
    // The one that is there from the start.
    let policies = "customresourcedefinition.apiextensions.k8s.io/clusternetworkpolicies.policy.networking.k8s.io";
    let defined = control.kubectl(&["get", "crd", "-o", "name"]);
    assert_eq!(defined.trim(), policies);
}

const BOATS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.naru.test}
spec:
  group: naru.test
  scope: Namespaced
  names: {plural: boats, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Seats, type: integer, jsonPath: .spec.seats}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {seats: {type: integer, minimum: 1, description: How many may sit.}}
";

#[test]
fn a_custom_kind_works_like_any_other() {
    let control = Control::start();
    control.kubectl_in(&["apply", "-f", "-"], BOATS);
    let wait = ["wait", "--for=condition=Established", "crd/boats.naru.test"];
    control.kubectl(&wait);
    let boat = "apiVersion: naru.test/v1\nkind: Boat\nmetadata: {name: a}\nspec: {seats: 2}\n";
    control.kubectl_in(&["apply", "-f", "-"], boat);
    let again = control.kubectl_in(&["apply", "-f", "-"], boat);
    assert!(again.contains("unchanged"), "{again}");
    let table = control.kubectl(&["get", "bt"]);
    assert!(table.contains("SEATS") && table.contains('2'), "{table}");
    let told = control.kubectl(&["explain", "boats.spec"]);
    assert!(told.contains("How many may sit."), "{told}");
    let none = boat.replace("seats: 2", "seats: 0");
    let why = control.kubectl_fails(&["apply", "-f", "-"], &none);
    assert!(why.contains("spec.seats"), "{why}");
    control.kubectl(&["delete", "crd", "boats.naru.test"]);
    eventually("the kind is gone", || {
        !control.try_kubectl(&["get", "boats"]).status.success()
    });
}

#[test]
fn may_i_answers_by_roles() {
    let control = Control::start();
    let asked = ["auth", "can-i", "list", "pods", "--as", "jane"];
    control.kubectl_fails(&asked, "");
    control.kubectl(&["create", "role", "reader", "--verb=list", "--resource=pods"]);
    control.kubectl(&[
        "create",
        "rolebinding",
        "jane",
        "--role=reader",
        "--user=jane",
    ]);
    assert_eq!(control.kubectl(&asked).trim(), "yes");
    let listed = control.kubectl(&["auth", "can-i", "--list", "--as", "jane"]);
    assert!(listed.contains("pods"), "{listed}");
    let role = control.kubectl(&["describe", "clusterrole", "cluster-admin"]);
    assert!(role.contains("*.*"), "{role}");
}
