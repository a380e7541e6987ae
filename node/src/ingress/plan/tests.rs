use serde_json::{Value, from_value, json};

use super::*;

fn ingress(name: &str, created: &str, spec: Value) -> Arc<Ingress> {
    let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": created});
    Arc::new(from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn class(name: &str, is_default: &str) -> Arc<IngressClass> {
    let annotations = json!({DEFAULT_CLASS: is_default});
    let metadata = json!({"name": name, "annotations": annotations});
    Arc::new(from_value(json!({"metadata": metadata})).unwrap())
}

fn backend(service: &str, port: Value) -> Value {
    json!({"service": {"name": service, "port": port}})
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": backend(service, json!({"number": 80}))})
}

fn rule(host: &str, paths: Vec<Value>) -> Value {
    json!({"host": host, "http": {"paths": paths}})
}

fn service(name: &str, ports: Value) -> Arc<Service> {
    let metadata = json!({"name": name, "namespace": "shop"});
    Arc::new(from_value(json!({"metadata": metadata, "spec": {"ports": ports}})).unwrap())
}

fn slice(service: &str, ports: Value, endpoints: Value) -> Arc<EndpointSlice> {
    let labels = json!({SERVICE_NAME: service});
    let metadata = json!({"name": format!("{service}-1"), "namespace": "shop", "labels": labels});
    let object = json!({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    Arc::new(from_value(object).unwrap())
}

/// A Service `web` with two ports and three endpoints, of which one is not ready.
fn web() -> (Vec<Arc<Service>>, Vec<Arc<EndpointSlice>>) {
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81, "targetPort": 9000}]);
    let slice_ports = json!([{"name": "http", "port": 8080}, {"name": "admin", "port": 9000}]);
    let endpoints = json!([
        {"addresses": ["10.244.1.2"], "conditions": {"ready": true}},
        {"addresses": ["10.244.2.2"]},
        {"addresses": ["10.244.2.3"], "conditions": {"ready": false, "serving": false}},
    ]);
    (
        vec![service("web", ports)],
        vec![slice("web", slice_ports, endpoints)],
    )
}

fn objects(ingresses: Vec<Arc<Ingress>>) -> Objects {
    let (services, slices) = web();
    Objects {
        ingresses,
        classes: vec![class("naru", "true")],
        services,
        slices,
    }
}

fn build(objects: &Objects) -> RouteTable {
    table(objects, &mut Endpoints::default())
}

/// Name and addresses of the backend for a request.
fn find(table: &RouteTable, host: &str, path: &str) -> Option<(String, Vec<String>)> {
    let backend = table.find(host, path)?;
    let addresses = backend
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.address().to_string());
    Some((backend.name().to_owned(), addresses.collect()))
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-02-01T00:00:00Z";

#[test]
fn a_route_leads_to_the_ready_endpoints_of_the_port() {
    let paths = vec![
        path("/", "Prefix", "web"),
        json!({"path": "/admin", "pathType": "Exact", "backend": backend("web", json!({"name": "admin"}))}),
        json!({"pathType": "ImplementationSpecific", "path": "/x", "backend": backend("web", json!({"number": 81}))}),
    ];
    let table = build(&objects(vec![ingress(
        "a",
        EARLY,
        json!({"rules": [rule("shop.test", paths)]}),
    )]));
    let both = |port: u16| vec![format!("10.244.1.2:{port}"), format!("10.244.2.2:{port}")];
    assert_eq!(
        find(&table, "shop.test", "/"),
        Some(("shop/web:80".into(), both(8080)))
    );
    assert_eq!(
        find(&table, "shop.test", "/admin"),
        Some(("shop/web:admin".into(), both(9000)))
    );
    assert_eq!(
        find(&table, "shop.test", "/x/y"),
        Some(("shop/web:81".into(), both(9000)))
    );
    assert_eq!(find(&table, "other.test", "/"), None);
}

#[test]
fn what_cannot_be_resolved_keeps_its_route_without_endpoints() {
    let external = Arc::new(
        from_value(json!({"metadata": {"name": "out", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "example.com", "ports": [{"port": 80}]}}))
        .unwrap(),
    );
    let resource = json!({"path": "/resource", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}});
    let no_port = json!({"path": "/port", "pathType": "Prefix", "backend": backend("web", json!({"number": 99}))});
    let paths = vec![
        path("/none", "Prefix", "none"),
        path("/out", "Prefix", "out"),
        no_port,
        resource,
    ];
    let mut objects = objects(vec![ingress(
        "a",
        EARLY,
        json!({"rules": [rule("", paths)]}),
    )]);
    objects.services.push(external);
    let table = build(&objects);
    for path in ["/none", "/out", "/port", "/resource"] {
        let (_, addresses) =
            find(&table, "x", path).unwrap_or_else(|| panic!("{path} has no route"));
        assert!(addresses.is_empty(), "{path}");
    }
}

#[test]
fn draining_endpoints_serve_only_when_no_other_does() {
    let ports = json!([{"port": 80}]);
    let draining = json!({"addresses": ["10.244.1.9"], "conditions": {"ready": false, "serving": true, "terminating": true}});
    let ready = json!({"addresses": ["10.244.1.8"], "conditions": {"ready": true}});
    let of = |endpoints: Value| {
        let spec = json!({"rules": [rule("", vec![path("/", "Prefix", "api")])]});
        let mut objects = objects(vec![ingress("a", EARLY, spec)]);
        objects.services.push(service("api", ports.clone()));
        objects.slices.push(slice("api", ports.clone(), endpoints));
        find(&build(&objects), "x", "/").unwrap().1
    };
    assert_eq!(of(json!([draining])), ["10.244.1.9:80"]);
    assert_eq!(of(json!([draining, ready])), ["10.244.1.8:80"]);
}

#[test]
fn the_older_ingress_keeps_its_route() {
    let spec =
        |service: &str| json!({"rules": [rule("shop.test", vec![path("/", "Prefix", service)])]});
    let young = ingress("a", LATE, spec("thief"));
    let old = ingress("b", EARLY, spec("web"));
    let table = build(&objects(vec![young, old]));
    assert_eq!(find(&table, "shop.test", "/").unwrap().0, "shop/web:80");
}

#[test]
fn a_default_backend_serves_its_own_hosts_and_all_others() {
    let spec = json!({"defaultBackend": backend("web", json!({"number": 80})),
        "rules": [rule("shop.test", vec![path("/api", "Prefix", "api")])]});
    let table = build(&objects(vec![ingress("a", EARLY, spec)]));
    assert_eq!(
        find(&table, "shop.test", "/api/x").unwrap().0,
        "shop/api:80"
    );
    assert_eq!(find(&table, "shop.test", "/x").unwrap().0, "shop/web:80");
    assert_eq!(find(&table, "other.test", "/").unwrap().0, "shop/web:80");
}

#[test]
fn only_our_class_is_served_and_none_while_we_are_the_default() {
    let named = |name: &str, class: Value| ingress(name, EARLY, json!({"ingressClassName": class}));
    let mut annotated: Ingress = (*named("annotated", Value::Null)).clone();
    annotated.metadata.annotations =
        Some([(CLASS_ANNOTATION.to_owned(), "nginx".to_owned())].into());
    let all = [
        named("ours", json!("naru")),
        named("theirs", json!("nginx")),
        named("none", Value::Null),
        Arc::new(annotated),
    ];
    let names = |classes: &[Arc<IngressClass>]| -> Vec<String> {
        ours(&all, classes)
            .iter()
            .filter_map(|ingress| ingress.metadata.name.clone())
            .collect()
    };
    assert_eq!(names(&[class("naru", "true")]), ["ours", "none"]);
    assert_eq!(
        names(&[class("naru", "false"), class("nginx", "true")]),
        ["ours"]
    );
    assert_eq!(names(&[]), ["ours"]);
}

#[test]
fn a_rebuilt_table_keeps_the_endpoints_it_knows() {
    let spec = json!({"rules": [rule("", vec![path("/", "Prefix", "web")])]});
    let objects = objects(vec![ingress("a", EARLY, spec)]);
    let mut endpoints = Endpoints::default();
    let (one, other) = (
        table(&objects, &mut endpoints),
        table(&objects, &mut endpoints),
    );
    let first = |table: &RouteTable| Arc::clone(&table.find("", "/").unwrap().endpoints()[0]);
    assert!(Arc::ptr_eq(&first(&one), &first(&other)));
}
