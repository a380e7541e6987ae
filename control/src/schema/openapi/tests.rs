use std::collections::BTreeSet;

use super::*;

/// Every reference below a value, as the name of the definition.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                into.extend(reference.rsplit('/').next().map(str::to_owned));
            }
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| references(element, into)),
        _ => {}
    }
}

fn assert_closed(document: &Value, definitions: &Value) {
    let mut used = BTreeSet::new();
    references(document, &mut used);
    let missing: Vec<_> = used
        .into_iter()
        .filter(|name| definitions.get(name.as_str()).is_none())
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn no_reference_leads_nowhere() {
    let v2 = v2(&[]);
    assert_closed(&v2, &v2["definitions"]);
    for (group, version) in group_versions() {
        let document = v3_document(group, version, &[]).expect("a served group");
        assert_closed(&document, &document["components"]["schemas"]);
    }
    assert_eq!(v3_document("no.such", "v1", &[]), None);
}

#[test]
fn the_index_names_every_group_version() {
    let index = v3_index(&[]);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .expect("apps");
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    assert!(index["paths"].get("api/v1").is_some());
}

#[test]
fn merge_keys_reach_the_clients() {
    let containers =
        &v2(&[])["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let v3 = v3_document("apps", "v1", &[]).expect("apps");
    let strategy =
        &v3["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(
        strategy.get("$ref"),
        None,
        "a reference stands alone in version 3"
    );
    let patch = &v3["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"]["kind"],
        "Deployment"
    );
    let content = &patch["requestBody"]["content"];
    assert!(
        content
            .get("application/strategic-merge-patch+json")
            .is_some()
    );
}

#[test]
fn operations_say_what_they_take_and_answer() {
    let core = v3_document("", "v1", &[]).expect("core");
    let maps = &core["paths"]["/api/v1/namespaces/{namespace}/configmaps"];
    let place = "#/components/schemas/io.k8s.api.core.v1.ConfigMap";
    let reference = |suffix: &str| json!({"$ref": format!("{place}{suffix}")});
    let answered = |operation: &Value, code: &str| {
        operation["responses"][code]["content"]["application/json"]["schema"].clone()
    };
    assert_eq!(answered(&maps["get"], "200"), reference("List"));
    assert_eq!(answered(&maps["post"], "201"), reference(""));
    let taken = &maps["post"]["requestBody"];
    assert_eq!(
        taken["content"]["application/yaml"]["schema"],
        reference("")
    );
    assert_eq!(taken["required"], true);
    let deleted = |plural: &str| {
        let path = format!("/api/v1/namespaces/{{namespace}}/{plural}/{{name}}");
        let answered = answered(&core["paths"][path]["delete"], "200");
        let name = answered["$ref"]
            .as_str()
            .and_then(|it| it.rsplit('.').next());
        name.expect("a reference").to_owned()
    };
    assert_eq!(deleted("configmaps"), "Status");
    assert_eq!(deleted("pods"), "Pod");
    let old = v2(&[]);
    let post = &old["paths"]["/api/v1/namespaces/{namespace}/configmaps"]["post"];
    let body = post["parameters"].as_array().expect("parameters").last();
    assert_eq!(body.expect("a body")["in"], "body");
    assert_eq!(post["operationId"], "createCoreV1NamespacedConfigMap");
}

#[test]
fn operations_have_unique_ids() {
    let document = v2(&[]);
    let mut seen = BTreeSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        let operations = item.as_object().expect("an item").values();
        for id in operations.filter_map(|operation| operation["operationId"].as_str()) {
            assert!(seen.insert(id.to_owned()), "{id} twice");
        }
    }
}

#[test]
fn the_protobuf_holds_what_the_json_holds() {
    let bytes = v2_protobuf(&v2(&[]));
    let document = gnostic::Document::decode(bytes.as_slice()).expect("own bytes decode");
    let schemas = document.definitions.expect("definitions").schemas;
    assert_eq!(
        schemas.len(),
        v2(&[])["definitions"]
            .as_object()
            .expect("definitions")
            .len()
    );
    let pod = schemas
        .iter()
        .find(|schema| schema.name == "io.k8s.api.core.v1.Pod")
        .expect("Pod");
    let pod = pod.value.as_ref().expect("a schema");
    let kind = &pod.vendor_extension[0];
    assert_eq!(kind.name, "x-kubernetes-group-version-kind");
    let yaml = &kind.value.as_ref().expect("a value").yaml;
    let parsed: Value = serde_json::from_str(yaml).expect("JSON, which is YAML");
    assert_eq!(
        parsed,
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let dry_run = document.paths.expect("paths").path.iter().any(|path| {
        let patch = path.value.as_ref().and_then(|item| item.patch.as_ref());
        patch.is_some_and(|patch| format!("{patch:?}").contains("dryRun"))
    });
    assert!(dry_run);
}

#[test]
fn every_description_describes_something() {
    let table = Table::get();
    let known: BTreeSet<String> = table
        .iter()
        .flat_map(|(_, definition)| {
            let name = describe::short_name(definition);
            let fields = definition.fields().iter();
            let fields =
                fields.flat_map(move |f| [format!("{name}.{}", f.name), format!("*.{}", f.name)]);
            fields.chain([name.to_owned()])
        })
        .collect();
    let stray: Vec<_> = describe::Descriptions::load()
        .subjects()
        .filter(|subject| !known.contains(*subject))
        .collect();
    assert_eq!(stray, Vec::<&str>::new());
    for kind in described() {
        let id = table
            .kind(kind.group, kind.version, kind.kind)
            .expect(kind.kind);
        let text = describe::Descriptions::load().of_definition(table.definition(id));
        assert!(text.is_some(), "{} has no description", kind.kind);
    }
}
