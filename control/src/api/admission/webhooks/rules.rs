//! Whether a write is a hook's business.

use serde_json::Value;

use super::hook::Hook;
use super::{Operation, Write};
use crate::api::kinds::Target;
use crate::api::selectors::LabelSelector;
use crate::api::value::{items, namespace, text};
use crate::store::Selectable;

/// One rule of a hook.
#[derive(Debug)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

impl Rule {
    pub(super) fn read(rule: &Value) -> Rule {
        let list = |key: &str| {
            let texts = items(rule, key).iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        Rule {
            operations: list("/operations"),
            groups: list("/apiGroups"),
            versions: list("/apiVersions"),
            resources: list("/resources"),
            scope: text(rule, "/scope").to_owned(),
        }
    }

    /// Whether the rule is about a resource in this version.
    pub(super) fn matches(
        &self,
        operation: Operation,
        kind: &crate::registry::kind::Kind,
        subresource: &str,
    ) -> bool {
        let among = |list: &[String], wanted: &str| {
            list.iter().any(|it| it == "*" || it.as_str() == wanted)
        };
        // A namespace counts as a resource of the cluster.
        let scope = match self.scope.as_str() {
            "Cluster" => !kind.namespaced,
            "Namespaced" => kind.namespaced,
            _ => true,
        };
        let resource = |it: &String| is_about(it, kind.plural, subresource);
        scope
            && among(&self.operations, operation.text())
            && among(&self.groups, kind.group)
            && among(&self.versions, kind.version)
            && self.resources.iter().any(resource)
    }
}

/// Whether `pods`, `pods/status`, `pods/*`, `*/status`, `*` or `*/*` is about a resource.
fn is_about(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (resource, part) = pattern.split_once('/').unwrap_or((pattern, ""));
    (resource == "*" || resource == plural) && (part == "*" || part == subresource)
}

/// Selects objects by their labels.
pub(super) struct Selector(Option<LabelSelector>);

impl Selector {
    /// What is no selector selects nothing; it is refused where it is written.
    pub(super) fn read(selector: Option<&Value>) -> Selector {
        let text = match crate::registry::selector_text(selector) {
            // What selects everything is written for people.
            text if text == "<none>" => String::new(),
            text => text,
        };
        Selector(LabelSelector::parse(&text).ok())
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        let pair = |(key, value): (&String, &Value)| -> Option<(Box<str>, Box<str>)> {
            Some((key.as_str().into(), value.as_str()?.into()))
        };
        let mut labels: Vec<_> = labels.filter_map(pair).collect();
        labels.sort();
        let selectable = Selectable {
            labels: labels.into(),
            fields: Box::default(),
        };
        self.0.as_ref().is_some_and(|it| it.matches(&selectable))
    }
}

/// The version in which a hook wants to see the object, if the write is its business.
pub(super) fn version(
    write: Write<'_>,
    hook: &Hook,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Option<Target> {
    let matched = matched(write, hook)?;
    let mut objects = [new, old].into_iter().flatten();
    let place = place(write, new.or(old)?);
    let there = place.is_none_or(|namespace| hook.namespaces.selects(&namespace));
    (there && objects.any(|object| hook.objects.selects(object))).then_some(matched)
}

/// The version that a rule is about: the one of the request, or another of the same kind.
fn matched(write: Write<'_>, hook: &Hook) -> Option<Target> {
    let about = |target: &Target| {
        let mut rules = hook.rules.iter();
        let subresource = write.request.subresource;
        rules.any(|rule| rule.matches(write.operation, target.kind, subresource))
    };
    let requested = write.request.target;
    if about(&requested) {
        return Some(requested);
    }
    if hook.exact {
        return None;
    }
    let (server, kind) = (write.server, requested.kind);
    let custom = server.custom.load();
    let all = server.kinds.0.iter().copied().chain(custom.kinds());
    let same = all.filter(|it| (it.group, it.plural) == (kind.group, kind.plural));
    let mut versions = same.filter_map(|it| server.find(it.group, it.version, it.plural));
    versions.find(about)
}

/// The namespace whose labels matter; none for other objects of the cluster.
fn place(write: Write<'_>, object: &Value) -> Option<Value> {
    let kind = write.target.kind;
    if kind.namespaced {
        let namespaces = write.server.stored("namespaces", None, namespace(object));
        return Some(namespaces.unwrap_or_default());
    }
    let is_namespace = kind.group.is_empty() && kind.plural == "namespaces";
    is_namespace.then(|| object.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::by_kind;

    #[test]
    fn rules_name_operations_resources_and_their_parts() {
        let rule = |resources: Value| {
            Rule::read(&json!({"operations": ["CREATE"], "apiGroups": ["apps"],
                "apiVersions": ["*"], "resources": resources, "scope": "Namespaced"}))
        };
        let kind = by_kind("apps", "v1", "Deployment").unwrap();
        let about =
            |resources: Value, part: &str| rule(resources).matches(Operation::Create, kind, part);
        assert!(about(json!(["deployments"]), "") && about(json!(["*"]), ""));
        assert!(!about(json!(["*"]), "status") && about(json!(["*/*"]), "status"));
        assert!(about(json!(["deployments/*"]), "status") && about(json!(["*/status"]), "status"));
        assert!(!about(json!(["replicasets"]), ""));
        assert!(!rule(json!(["*"])).matches(Operation::Delete, kind, ""));
        let node = by_kind("", "v1", "Node").unwrap();
        assert!(!rule(json!(["*"])).matches(Operation::Create, node, ""));
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        let object = json!({"metadata": {"labels": {"b": "2", "a": "1"}}});
        assert!(Selector::read(Some(&json!({}))).selects(&object));
        let by = |selector: Value| Selector::read(Some(&selector)).selects(&object);
        assert!(by(json!({"matchLabels": {"a": "1", "b": "2"}})));
        assert!(!by(
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn",
            "values": ["1"]}]})
        ));
    }
}
