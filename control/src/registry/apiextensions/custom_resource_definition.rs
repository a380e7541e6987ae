//! CustomResourceDefinition: a kind that clients bring along.

use serde_json::{Value, json};

use super::{expressions, schema_rules};
use crate::registry::column::{CREATED, NAME, created, name};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, client_config, dns_label, is_dns_label, one_of, required, unique,
};
use crate::registry::value::{child, default, default_text, list, list_mut, put, text};

/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// CustomResourceDefinition of apiextensions.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    status: true,
    columns: &[NAME, CREATED],
    cells: |definition, _| vec![name(definition), created(definition)],
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            start(new);
        }
        tell_stored(new);
    },
    validate,
    ..Kind::PLAIN
};

fn set_defaults(definition: &mut Value) {
    let Some(spec) = child(definition, "spec") else {
        return;
    };
    if let Some(conversion) = child(spec, "conversion") {
        default_text(conversion, "strategy", "None");
        let service = conversion.pointer_mut("/webhook/clientConfig/service");
        if let Some(service) = service.filter(|it| it.is_object()) {
            default(service, "port", 443);
        }
    }
    for version in list_mut(spec, "/versions") {
        if let Some(columns) = version.get_mut("additionalPrinterColumns")
            && columns.as_array().is_some_and(Vec::is_empty)
        {
            put(version, "additionalPrinterColumns", None);
        }
    }
    let Some(names) = child(spec, "names") else {
        return;
    };
    let kind = text(names, "/kind").to_owned();
    if !kind.is_empty() {
        default_text(names, "singular", &kind.to_lowercase());
        default_text(names, "listKind", &format!("{kind}List"));
    }
}

/// A new definition is nobody's yet, and does not go before its objects.
fn start(definition: &mut Value) {
    let names = json!({"plural": "", "kind": ""});
    let status = json!({"conditions": [], "acceptedNames": names, "storedVersions": []});
    put(definition, "status", Some(status));
    if let Some(metadata) = child(definition, "metadata") {
        default(metadata, "finalizers", json!([]));
        let there = list(metadata, "/finalizers").iter().any(|it| it == CLEANUP);
        if let Some(finalizers) = metadata["finalizers"].as_array_mut().filter(|_| !there) {
            finalizers.push(CLEANUP.into());
        }
    }
}

/// Tells in which version objects will be stored, before the first one is: whoever looks finds every
/// version that they may have.
fn tell_stored(definition: &mut Value) {
    let mut versions = list(definition, "/spec/versions").iter();
    let now = versions.find(|version| version["storage"] == true);
    let now = now.map(|version| version["name"].clone());
    let (Some(now), Some(status)) = (now, child(definition, "status")) else {
        return;
    };
    default(status, "storedVersions", json!([]));
    if let Some(told) = status["storedVersions"].as_array_mut()
        && !told.contains(&now)
    {
        told.push(now);
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let (called, spec) = (root.dig(&["metadata", "name"]), root.get("spec"));
    let (group, names) = (spec.get("group"), spec.get("names"));
    let plural = names.get("plural");
    required(&group, &mut faults);
    if !group.is_empty() && !group.text().contains('.') {
        faults.invalid(&group, "should be a domain with at least one dot");
    }
    let wanted = format!("{}.{}", plural.text(), group.text());
    if called.text() != wanted {
        faults.invalid(&called, "must be spec.names.plural+\".\"+spec.group");
    }
    for key in ["plural", "singular", "kind", "listKind"] {
        let at = names.get(key);
        let lower = at.text().to_lowercase();
        if required(&at, &mut faults) && !is_dns_label(&lower) {
            faults.invalid(
                &at,
                "may have mixed case, but should otherwise match a DNS label",
            );
        }
    }
    dns_label(&plural, &mut faults);
    for list in ["shortNames", "categories"] {
        names
            .get(list)
            .each()
            .for_each(|name| dns_label(&name, &mut faults));
    }
    one_of(&spec.get("scope"), &["Cluster", "Namespaced"], &mut faults);
    required(&spec.get("scope"), &mut faults);
    conversion(&spec.get("conversion"), &mut faults);
    versions(&spec, &mut faults);
    if faults.is_empty() {
        rules(&spec, old, &mut faults);
    }
    if let Some(old) = old {
        kept(&spec, &At::root(old).get("spec"), &mut faults);
        stored_versions(&root, &mut faults);
    }
    faults.into_list()
}

/// How objects get from one version to another.
fn conversion(conversion: &At<'_>, faults: &mut Faults) {
    let (strategy, webhook) = (conversion.get("strategy"), conversion.get("webhook"));
    one_of(&strategy, &["None", "Webhook"], faults);
    if strategy.text() != "Webhook" {
        if webhook.is_set() {
            let why = "should not be set when strategy is not set to Webhook";
            faults.forbidden(&webhook, why);
        }
        return;
    }
    let (config, known) = (webhook.get("clientConfig"), ["v1", "v1beta1"]);
    if config.is_set() {
        client_config(&config, faults);
    } else {
        faults.required(&config, "required when strategy is set to Webhook");
    }
    let versions = webhook.get("conversionReviewVersions");
    let known = |version: At<'_>| known.contains(&version.text());
    if required(&versions, faults) && !versions.each().any(known) {
        faults.invalid(&versions, "must include at least one of v1, v1beta1");
    }
    versions
        .each()
        .for_each(|version| dns_label(&version, faults));
    unique(versions.each(), faults);
}

fn versions(spec: &At<'_>, faults: &mut Faults) {
    let versions = spec.get("versions");
    required(&versions, faults);
    let stored = versions
        .each()
        .filter(|version| *version.get("storage").value() == true);
    if !versions.is_empty() && stored.count() != 1 {
        faults.invalid(
            &versions,
            "must have exactly one version marked as storage version",
        );
    }
    let mut seen = Vec::new();
    for version in versions.each() {
        let name = version.get("name");
        required(&name, faults);
        dns_label(&name, faults);
        if seen.contains(&name.text()) {
            faults.duplicate(&name);
        }
        seen.push(name.text());
        schema_rules::version(&version, faults);
    }
}

/// Rules in CEL are well typed, or were kept before although they are not.
fn rules(spec: &At<'_>, old: Option<&Value>, faults: &mut Faults) {
    let found = |spec: &At<'_>| {
        let mut found = Faults::default();
        for version in spec.get("versions").each() {
            expressions::version(&version, &mut found);
        }
        found
    };
    let (now, mut before) = (found(spec), Faults::default());
    if let Some(old) = old.filter(|_| !now.is_empty()) {
        before = found(&At::root(old).get("spec"));
    }
    faults.add_news(now, &before);
}

/// What a definition cannot change.
fn kept(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    for path in [
        &["group"][..],
        &["scope"],
        &["names", "plural"],
        &["names", "kind"],
    ] {
        if new.dig(path).value() != old.dig(path).value() {
            faults.invalid(&new.dig(path), "field is immutable");
        }
    }
}

/// A version in which objects may still be stored has to stay.
fn stored_versions(root: &At<'_>, faults: &mut Faults) {
    let versions = root.dig(&["spec", "versions"]);
    for (index, stored) in root.dig(&["status", "storedVersions"]).each().enumerate() {
        if !versions
            .each()
            .any(|version| version.get("name").text() == stored.text())
        {
            let why = format!("must appear in spec.versions (storedVersions[{index}])");
            faults.invalid(&stored, &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        let mut definition = json!({"metadata": {"name": "walks.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "walks", "kind": "Walk"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        set_defaults(&mut definition);
        (KIND.prepare)(&mut definition, None);
        definition
    }

    #[test]
    fn a_version_is_told_to_be_stored_with_the_write_that_makes_it_so() {
        let old = definition();
        let mut new = old.clone();
        new["spec"]["versions"][0]["storage"] = false.into();
        let mut next = new["spec"]["versions"][0].clone();
        (next["name"], next["storage"]) = ("v2".into(), true.into());
        new["spec"]["versions"].as_array_mut().unwrap().push(next);
        (KIND.prepare)(&mut new, Some(&old));
        assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
        let again = new.clone();
        (KIND.prepare)(&mut new, Some(&again));
        assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    }

    #[test]
    fn a_definition_starts_with_what_it_needs() {
        let definition = definition();
        assert_eq!(validate(&definition, None), []);
        assert_eq!(definition["spec"]["names"]["listKind"], "WalkList");
        assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(definition["metadata"]["finalizers"], json!([CLEANUP]));
    }

    #[test]
    fn a_rule_that_was_kept_before_stays_although_it_is_ill_typed() {
        let ruled = |rules: Value| {
            let mut definition = definition();
            let schema = "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations";
            let (at, name) = schema.rsplit_once('/').unwrap();
            definition.pointer_mut(at).unwrap()[name] = rules;
            definition
        };
        let old = ruled(json!([{"rule": "self.a == 1"}]));
        let path = "spec.versions[0].schema.openAPIV3Schema.x-kubernetes-validations";
        let first = format!("{path}[0].rule");
        assert_eq!(Faults::paths(&validate(&old, None)), [first.as_str()]);
        assert_eq!(validate(&old, Some(&old)), []);
        let new = ruled(json!([{"rule": "self.b == 1"}, {"rule": "self.a == 1"}]));
        assert_eq!(Faults::paths(&validate(&new, Some(&old))), [first.as_str()]);
    }

    #[test]
    fn a_conversion_says_who_does_it() {
        let with = |conversion: Value| {
            let mut definition = definition();
            definition["spec"]["conversion"] = conversion;
            set_defaults(&mut definition);
            definition
        };
        let service = json!({"service": {"namespace": "n", "name": "s"}});
        let webhook = |config: &Value, versions: Value| {
            with(json!({"strategy": "Webhook", "webhook": {
                "clientConfig": config, "conversionReviewVersions": versions}}))
        };
        let good = webhook(&service, json!(["v9", "v1"]));
        assert_eq!(validate(&good, None), []);
        let port = good.pointer("/spec/conversion/webhook/clientConfig/service/port");
        assert_eq!(port, Some(&json!(443)));
        let faults = validate(&webhook(&json!({}), json!(["v9"])), None);
        let at = "spec.conversion.webhook";
        assert_eq!(
            Faults::paths(&faults),
            [
                format!("{at}.clientConfig"),
                format!("{at}.conversionReviewVersions")
            ]
        );
        let idle = with(json!({"strategy": "None", "webhook": {"clientConfig": service}}));
        assert_eq!(Faults::paths(&validate(&idle, None)), [at]);
    }

    #[test]
    fn faults_of_a_definition_are_named() {
        let mut wrong = definition();
        wrong["metadata"]["name"] = "other.example.com".into();
        wrong["spec"]["conversion"]["strategy"] = "Webhook".into();
        wrong["spec"]["versions"][0]["storage"] = false.into();
        wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"properties": {
            "spec": {"properties": {"a": {"type": "string"}}}, "list": {"type": "array"}}});
        let faults = validate(&wrong, None);
        let schema = "spec.versions[0].schema.openAPIV3Schema";
        assert_eq!(
            Faults::paths(&faults),
            [
                "metadata.name".to_owned(),
                "spec.conversion.webhook.clientConfig".into(),
                "spec.conversion.webhook.conversionReviewVersions".into(),
                "spec.versions".into(),
                format!("{schema}.type"),
                format!("{schema}.properties[list].items"),
                format!("{schema}.properties[spec].type"),
            ]
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
        );
        let old = definition();
        let mut moved = old.clone();
        moved["spec"]["scope"] = "Cluster".into();
        assert_eq!(Faults::paths(&validate(&moved, Some(&old))), ["spec.scope"]);
    }
}
