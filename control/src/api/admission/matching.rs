//! Which writes a webhook or a policy is about.

use serde_json::Value;

use super::webhooks::Operation;
use super::write::Write;
use crate::api::kinds::Target;
use crate::api::selectors::LabelSelector;
use crate::api::value::{items, text};
use crate::registry::kind::Kind;
use crate::store::Selectable;

/// What somebody wants to be asked about.
pub(super) struct Match {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: Selector,
    objects: Selector,
    /// Whether other versions of a kind are none of its business.
    exact: bool,
}

impl Match {
    /// What a webhook wants.
    pub(super) fn of_hook(hook: &Value) -> Match {
        Match::read(hook, "/rules")
    }

    /// What a policy or a binding wants.
    pub(super) fn of_policy(resources: &Value) -> Match {
        let mut read = Match::read(resources, "/resourceRules");
        let excluded = items(resources, "/excludeResourceRules").iter();
        read.excluded = excluded.map(Rule::read).collect();
        read
    }

    fn read(value: &Value, rules: &str) -> Match {
        Match {
            rules: items(value, rules).iter().map(Rule::read).collect(),
            excluded: Vec::new(),
            namespaces: Selector::read(value.get("namespaceSelector")),
            objects: Selector::read(value.get("objectSelector")),
            exact: text(value, "/matchPolicy") == "Exact",
        }
    }

    /// The version in which the object is wanted, if the write is.
    pub(super) fn version(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Option<Target> {
        let object = new.or(old)?;
        let matched = self.matched(write, object)?;
        self.selects(write, new, old).then_some(matched)
    }

    /// Whether a binding without rules of its own, or with them, is about the write.
    pub(super) fn narrows(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> bool {
        if self.rules.is_empty() && self.excluded.is_empty() {
            return self.selects(write, new, old);
        }
        self.version(write, new, old).is_some()
    }

    fn selects(&self, write: Write<'_>, new: Option<&Value>, old: Option<&Value>) -> bool {
        let mut objects = [new, old].into_iter().flatten();
        let place = new.or(old).and_then(|object| place(write, object));
        let there = place.is_none_or(|namespace| self.namespaces.selects(&namespace));
        there && objects.any(|object| self.objects.selects(object))
    }

    /// The version that a rule is about: the one of the request, or another of the same kind.
    fn matched(&self, write: Write<'_>, object: &Value) -> Option<Target> {
        let part = write.request.subresource;
        let about = |rules: &[Rule], kind: &Kind| {
            let mut rules = rules.iter();
            rules.any(|rule| rule.matches(write.operation, kind, part, write.name(object)))
        };
        let requested = write.request.target;
        if about(&self.excluded, requested.kind) {
            return None;
        }
        if about(&self.rules, requested.kind) {
            return Some(requested);
        }
        if self.exact {
            return None;
        }
        let (server, kind) = (write.server, requested.kind);
        let custom = server.custom.load();
        let all = server.kinds.0.iter().copied().chain(custom.kinds());
        let same = all.filter(|it| (it.group, it.plural) == (kind.group, kind.plural));
        let mut versions = same.filter_map(|it| server.find(it.group, it.version, it.plural));
        versions.find(|it| about(&self.rules, it.kind))
    }
}

/// One rule.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

impl Rule {
    fn read(rule: &Value) -> Rule {
        let list = |key: &str| {
            let texts = items(rule, key).iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        Rule {
            operations: list("/operations"),
            groups: list("/apiGroups"),
            versions: list("/apiVersions"),
            resources: list("/resources"),
            names: list("/resourceNames"),
            scope: text(rule, "/scope").to_owned(),
        }
    }

    /// Whether the rule is about a resource in this version.
    fn matches(&self, operation: Operation, kind: &Kind, subresource: &str, name: &str) -> bool {
        let among = |list: &[String], wanted: &str| {
            list.iter().any(|it| it == "*" || it.as_str() == wanted)
        };
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
            && (self.names.is_empty() || self.names.iter().any(|it| it == name))
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

/// The namespace whose labels matter; none for other objects of the cluster.
fn place(write: Write<'_>, object: &Value) -> Option<Value> {
    let kind = write.target.kind;
    if kind.namespaced {
        let stored = write
            .server
            .stored("namespaces", None, write.namespace(object));
        return Some(stored.unwrap_or_default());
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
        let about = |resources: Value, part: &str| {
            rule(resources).matches(Operation::Create, kind, part, "web")
        };
        assert!(about(json!(["deployments"]), "") && about(json!(["*"]), ""));
        assert!(!about(json!(["*"]), "status") && about(json!(["*/*"]), "status"));
        assert!(about(json!(["deployments/*"]), "status") && about(json!(["*/status"]), "status"));
        assert!(!about(json!(["replicasets"]), ""));
        assert!(!rule(json!(["*"])).matches(Operation::Delete, kind, "", "web"));
        let mut named = rule(json!(["*"]));
        named.names = vec!["web".into()];
        assert!(named.matches(Operation::Create, kind, "", "web"));
        assert!(!named.matches(Operation::Create, kind, "", "other"));
        let node = by_kind("", "v1", "Node").unwrap();
        assert!(!rule(json!(["*"])).matches(Operation::Create, node, "", "n"));
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
