//! APIService: a version of a group, and the server behind it.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind, NameForm};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, range, required};
use crate::registry::value::{child, default, list, put, text};

/// APIService of apiregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    names: NameForm::PathSegment,
    status: true,
    columns: &[NAME, string("Service"), string("Available"), AGE],
    cells: |service, now| {
        let at = |key: &str| text(service, &format!("/spec/service/{key}")).to_owned();
        let behind = match at("name") {
            name if name.is_empty() => "Local".to_owned(),
            name => format!("{}/{name}", at("namespace")),
        };
        let cells = [behind.into(), available(service).into(), age(service, now)];
        std::iter::once(name(service)).chain(cells).collect()
    },
    default: |service| {
        if let Some(spec) = child(service, "spec")
            && let Some(behind) = spec.get_mut("service").filter(|it| it.is_object())
        {
            default(behind, "port", 443);
        }
    },
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn available(service: &Value) -> String {
    let mut conditions = list(service, "/status/conditions").iter();
    let Some(found) = conditions.find(|one| text(one, "/type") == "Available") else {
        return "Unknown".to_owned();
    };
    match text(found, "/status") {
        "True" => "True".to_owned(),
        other => format!("{other} ({})", text(found, "/reason")),
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let (called, spec) = (root.dig(&["metadata", "name"]), root.get("spec"));
    let wanted = format!(
        "{}.{}",
        spec.get("version").text(),
        spec.get("group").text()
    );
    if called.text() != wanted {
        faults.invalid(
            &called,
            &format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"),
        );
    }
    required(&spec.get("version"), &mut faults);
    range(&spec.get("groupPriorityMinimum"), 1..=20_000, &mut faults);
    range(&spec.get("versionPriority"), 1..=1000, &mut faults);
    for key in ["groupPriorityMinimum", "versionPriority"] {
        if !spec.get(key).is_set() {
            faults.required(&spec.get(key), "");
        }
    }
    let behind = spec.get("service");
    if behind.is_set() {
        required(&behind.get("namespace"), &mut faults);
        required(&behind.get("name"), &mut faults);
        let (skip, bundle) = (spec.get("insecureSkipTLSVerify"), spec.get("caBundle"));
        if *skip.value() == true && !bundle.is_empty() {
            faults.invalid(&skip, "may not be true if caBundle is present");
        }
    } else if !spec.get("caBundle").is_empty() || *spec.get("insecureSkipTLSVerify").value() == true
    {
        faults.required(
            &behind,
            "local APIServices may not say how to verify a server",
        );
    }
    faults.into_list()
}
