//! Roles and bindings: what is granted to whom. Pure; the objects are read by [`super::grants`].

use serde_json::Value;

use crate::api::authn::User;
use crate::api::request::ResourcePath;
use crate::api::value::{items, text};

/// One rule of a role (`PolicyRule`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::api) struct Grant {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
}

/// What is to be allowed: verb, API group, resource and name, or verb and path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act<'a> {
    Resource(&'a str, &'a str, &'a str, &'a str),
    Path(&'a str, &'a str),
}

impl Grant {
    pub(super) fn parse(rule: &Value) -> Grant {
        let texts = |key: &str| {
            let list = items(rule, &format!("/{key}")).iter();
            list.filter_map(|it| it.as_str().map(str::to_owned))
                .collect()
        };
        Grant {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub(super) fn of_role(role: &Value) -> Vec<Grant> {
        items(role, "/rules").iter().map(Grant::parse).collect()
    }

    /// The rule as a review lists it.
    pub(in crate::api) fn to_value(&self) -> Value {
        let mut value = serde_json::json!({"verbs": self.verbs});
        let lists = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                value[key] = serde_json::json!(list);
            }
        }
        value
    }

    /// Whether it is about paths.
    pub(in crate::api) fn is_about_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    pub(super) fn allows(&self, act: Act<'_>) -> bool {
        match act {
            Act::Resource(verb, group, resource, name) => {
                has(&self.verbs, verb)
                    && has(&self.groups, group)
                    && self
                        .resources
                        .iter()
                        .any(|have| is_resource(have, resource))
                    && (self.names.is_empty() || self.names.iter().any(|have| have == name))
            }
            Act::Path(verb, path) => {
                let covers = |have: &String| match have.strip_suffix('*') {
                    Some(start) => path.starts_with(start),
                    None => have == path,
                };
                has(&self.verbs, verb) && self.paths.iter().any(covers)
            }
        }
    }

    /// Whether everything that this rule grants is granted by `owned` already.
    pub(super) fn is_within(&self, owned: &[Grant]) -> bool {
        let granted = |act: Act<'_>| owned.iter().any(|grant| grant.allows(act));
        let nameless = [String::new()];
        let names = if self.names.is_empty() {
            &nameless[..]
        } else {
            &self.names
        };
        let resources = self.verbs.iter().all(|verb| {
            self.groups.iter().all(|group| {
                self.resources.iter().all(|resource| {
                    names
                        .iter()
                        .all(|name| granted(Act::Resource(verb, group, resource, name)))
                })
            })
        });
        let paths = |verb: &String| self.paths.iter().all(|path| granted(Act::Path(verb, path)));
        resources && self.verbs.iter().all(paths)
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|have| have == "*" || have == wanted)
}

fn is_resource(have: &str, wanted: &str) -> bool {
    let sub = |text: &str| text.split_once('/').map(|(_, sub)| sub.to_owned());
    have == "*" || have == wanted || (have.starts_with("*/") && sub(have) == sub(wanted))
}

/// What a request wants, as a rule would grant it.
pub(super) fn act<'a>(verb: &'a str, path: &'a ResourcePath, resource: &'a str) -> Act<'a> {
    Act::Resource(
        verb,
        &path.group,
        resource,
        path.name.as_deref().unwrap_or_default(),
    )
}

/// Whether one of a binding's subjects is the user; `namespace` is where the binding is.
pub(super) fn binds(binding: &Value, user: &User) -> bool {
    items(binding, "/subjects").iter().any(|subject| {
        let name = text(subject, "/name");
        match text(subject, "/kind") {
            "User" => name == user.name,
            "Group" => user.is_in(name),
            "ServiceAccount" => {
                let place = text(subject, "/namespace");
                user.name == format!("system:serviceaccount:{place}:{name}")
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(rule: &Value) -> Grant {
        Grant::parse(rule)
    }

    #[test]
    fn rules_grant_by_verb_group_resource_and_name() {
        let pods =
            grant(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"]}));
        assert!(pods.allows(Act::Resource("get", "", "pods", "a")));
        assert!(pods.allows(Act::Resource("get", "", "things/scale", "")));
        assert!(!pods.allows(Act::Resource("get", "", "pods/log", "a")));
        assert!(!pods.allows(Act::Resource("list", "", "pods", "")));
        assert!(!pods.allows(Act::Resource("get", "apps", "pods", "")));
        let one = grant(
            &json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
            "resourceNames": ["a"]}),
        );
        assert!(one.allows(Act::Resource("delete", "x", "y/z", "a")));
        assert!(!one.allows(Act::Resource("delete", "x", "y", "b")));
        let paths = grant(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}));
        assert!(
            paths.allows(Act::Path("get", "/logs/a")) && paths.allows(Act::Path("get", "/healthz"))
        );
        assert!(!paths.allows(Act::Path("get", "/metrics")));
    }

    #[test]
    fn nobody_gives_more_than_he_has() {
        let own = [
            grant(&json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})),
            grant(&json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]})),
        ];
        let within = |rule: Value| grant(&rule).is_within(&own);
        assert!(within(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"],
            "resourceNames": ["a"]})
        ));
        assert!(within(
            json!({"verbs": ["delete"], "apiGroups": ["apps"], "resources": ["x"]})
        ));
        assert!(!within(
            json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]})
        ));
        assert!(!within(
            json!({"verbs": ["get"], "apiGroups": ["", "apps"], "resources": ["secrets"]})
        ));
        assert!(!within(
            json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]})
        ));
    }
}
