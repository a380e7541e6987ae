//! FlowSchema: which requests belong to which priority level.

use serde_json::{Value, json};

use super::defaults;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, dns_label, dns_subdomain, range, required, required_one_of, unique,
};
use crate::registry::value::{child, default, int, list, put, text};

/// FlowSchema of flowcontrol.apiserver.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    status: true,
    columns: &[
        NAME,
        string("PriorityLevel"),
        integer("MatchingPrecedence"),
        string("DistinguisherMethod"),
        AGE,
        string("MissingPL"),
    ],
    cells: |schema, now| {
        let mut conditions = list(schema, "/status/conditions").iter();
        let dangling = conditions.find(|one| text(one, "/type") == "Dangling");
        let missing = dangling.map_or("?", |one| text(one, "/status"));
        vec![
            name(schema),
            text(schema, "/spec/priorityLevelConfiguration/name").into(),
            int(schema, "/spec/matchingPrecedence").unwrap_or(0).into(),
            or_none(text(schema, "/spec/distinguisherMethod/type")),
            age(schema, now),
            missing.into(),
        ]
    },
    default: |schema| {
        if let Some(spec) = child(schema, "spec") {
            default(spec, "matchingPrecedence", 1000);
        }
    },
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

/// Verbs that rules may name.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
/// The kinds of subjects, and the member that says more of each.
const SUBJECTS: [(&str, &str); 3] = [
    ("Group", "group"),
    ("ServiceAccount", "serviceAccount"),
    ("User", "user"),
];

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let (spec, name) = (At::root(new).get("spec"), text(new, "/metadata/name"));
    let precedence = spec.get("matchingPrecedence");
    range(&precedence, 1..=10_000, &mut faults);
    if precedence.int() == Some(1) && name != defaults::EXEMPT {
        faults.invalid(
            &precedence,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        );
    }
    let methods = &["ByNamespace", "ByUser"];
    let method = spec.get("distinguisherMethod");
    if method.is_set() {
        required_one_of(&method.get("type"), methods, &mut faults);
    }
    let level = spec.dig(&["priorityLevelConfiguration", "name"]);
    if level.is_empty() {
        faults.required(&level, "must reference a priority level");
    }
    dns_subdomain(&level, &mut faults);
    for rule in spec.get("rules").each() {
        check_rule(&rule, &mut faults);
    }
    let fixed = defaults::is_mandatory(name).then(defaults::flow_schemas);
    let fixed = fixed.and_then(|all| defaults::named(all, name));
    if fixed.is_some_and(|fixed| fixed["spec"] != new["spec"]) {
        let why = format!("spec of '{name}' must equal the fixed value");
        faults.invalid(&spec, &why);
    }
    check_conditions(&At::root(new), &mut faults);
    faults.into_list()
}

fn check_rule(rule: &At<'_>, faults: &mut Faults) {
    let (resources, paths) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    at_least_one(&rule.get("subjects"), faults);
    for subject in rule.get("subjects").each() {
        check_subject(&subject, faults);
    }
    if resources.is_empty() && paths.is_empty() {
        faults.required(
            rule,
            "at least one of resourceRules and nonResourceRules has to be non-empty",
        );
    }
    for resource in resources.each() {
        check_verbs(&resource.get("verbs"), faults);
        for list in ["apiGroups", "resources"] {
            at_least_one(&resource.get(list), faults);
            all_or_some(&resource.get(list), faults);
        }
        let namespaces = resource.get("namespaces");
        if namespaces.is_empty() && resource.get("clusterScope").value() != true {
            let why =
                "resource rules that are not cluster scoped must supply at least one namespace";
            faults.required(&namespaces, why);
        }
        if all_or_some(&namespaces, faults) {
            for namespace in namespaces.each() {
                dns_label(&namespace, faults);
            }
        }
    }
    for path in paths.each() {
        check_verbs(&path.get("verbs"), faults);
        let urls = path.get("nonResourceURLs");
        at_least_one(&urls, faults);
        if all_or_some(&urls, faults) {
            for url in urls.each() {
                check_path(&url, faults);
            }
        }
    }
}

fn check_subject(subject: &At<'_>, faults: &mut Faults) {
    let kinds = SUBJECTS.map(|(kind, _)| kind);
    required_one_of(&subject.get("kind"), &kinds, faults);
    let kind = subject.get("kind").text();
    if !kinds.contains(&kind) {
        return;
    }
    for (other, member) in SUBJECTS {
        let of = subject.get(member);
        if other != kind {
            if of.is_set() {
                let why = format!("{member} is forbidden when subject kind is not '{other}'");
                faults.forbidden(&of, &why);
            }
            continue;
        }
        if !of.is_set() {
            let why = format!("{member} is required when subject kind is '{kind}'");
            faults.required(&of, &why);
            continue;
        }
        required(&of.get("name"), faults);
        if kind == "ServiceAccount" {
            let (name, namespace) = (of.get("name"), of.get("namespace"));
            if name.text() != "*" {
                dns_subdomain(&name, faults);
            }
            if namespace.is_empty() {
                faults.required(&namespace, "must specify namespace for service account");
            }
            dns_label(&namespace, faults);
        }
    }
}

fn check_verbs(verbs: &At<'_>, faults: &mut Faults) {
    at_least_one(verbs, faults);
    let known = |verb: At<'_>| VERBS.contains(&verb.text());
    if all_or_some(verbs, faults) && !verbs.each().all(known) {
        faults.not_supported(verbs, VERBS);
    }
}

fn at_least_one(list: &At<'_>, faults: &mut Faults) {
    if list.is_empty() {
        faults.required(list, "must contain at least one value");
    }
}

/// `*` stands alone. Whether the list names what it means one by one.
fn all_or_some(list: &At<'_>, faults: &mut Faults) -> bool {
    let all = list.each().any(|it| it.text() == "*");
    if all && list.len() > 1 {
        faults.invalid(list, "if '*' is present, must not specify others");
    }
    !all
}

fn check_path(path: &At<'_>, faults: &mut Faults) {
    let text = path.text();
    let stars = text.matches('*').count();
    let why = if text.is_empty() {
        "must not be empty"
    } else if !text.starts_with('/') {
        "must start with slash"
    } else if text.contains(' ') {
        "must not contain white-space"
    } else if text.contains("//") {
        "must not contain double slash"
    } else if stars > 1 || (stars == 1 && !text.ends_with("/*")) {
        "wildcard can only do suffix matching"
    } else {
        return;
    };
    faults.invalid(path, why);
}

/// The conditions of a status: each has a type, and no two the same.
pub(super) fn check_conditions(root: &At<'_>, faults: &mut Faults) {
    let conditions = root.dig(&["status", "conditions"]);
    for condition in conditions.each() {
        if condition.get("type").is_empty() {
            faults.required(&condition.get("type"), "must not be empty");
        }
    }
    unique(conditions.each().map(|it| it.get("type")), faults);
}
