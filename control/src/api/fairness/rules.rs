//! The rules of a FlowSchema, made ready for requests: matching one compares texts and copies none.

use serde_json::Value;

use crate::api::authn::User;
use crate::api::request::{RequestInfo, ResourcePath};
use crate::api::value::{items, text};

/// What some subjects ask (`PolicyRulesWithSubjects`).
#[derive(Debug)]
pub(super) struct Rule {
    subjects: Box<[Subject]>,
    resources: Box<[ResourceRule]>,
    paths: Box<[PathRule]>,
}

#[derive(Debug)]
enum Subject {
    Anybody,
    User(Box<str>),
    Group(Box<str>),
    /// Every account of a namespace, by what their names begin with.
    Accounts(Box<str>),
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    /// Whether requests outside of namespaces are meant, too.
    cluster: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Names,
    /// None: any.
    paths: Option<Box<[Root]>>,
}

/// A path, and what lies below it.
#[derive(Debug)]
struct Root {
    path: Box<str>,
    /// What every path below it begins with.
    below: Box<str>,
}

/// Some names, or all.
#[derive(Debug)]
enum Names {
    All,
    These(Box<[Box<str>]>),
}

impl Names {
    fn parse(rule: &Value, pointer: &str) -> Self {
        let names = items(rule, pointer).iter().filter_map(Value::as_str);
        let names: Box<[Box<str>]> = names.map(Into::into).collect();
        match &*names {
            [one] if &**one == "*" => Self::All,
            _ => Self::These(names),
        }
    }

    fn any(&self, is_it: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| is_it(name)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.any(|have| have == name)
    }
}

/// Where a request takes place: its namespace, or the one that it is about.
pub(super) fn place(path: &ResourcePath) -> Option<&str> {
    let own = path.group.is_empty() && path.plural == "namespaces";
    let own = own.then_some(path.name.as_deref()).flatten();
    path.namespace.as_deref().or(own)
}

impl Rule {
    /// The rules of a schema.
    pub(super) fn all(schema: &Value) -> Box<[Rule]> {
        let rules = items(schema, "/spec/rules").iter();
        rules.map(Rule::parse).collect()
    }

    fn parse(rule: &Value) -> Rule {
        let subjects = items(rule, "/subjects").iter();
        let resources = items(rule, "/resourceRules").iter();
        let paths = items(rule, "/nonResourceRules").iter();
        Rule {
            subjects: subjects.filter_map(Subject::parse).collect(),
            resources: resources.map(ResourceRule::parse).collect(),
            paths: paths.map(PathRule::parse).collect(),
        }
    }

    /// Whether `user` is meant, and what he asks.
    pub(super) fn covers(&self, user: &User, info: &RequestInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && match &info.resource {
                Some(path) => {
                    let covers = |rule: &ResourceRule| rule.covers(info.verb, path);
                    self.resources.iter().any(covers)
                }
                None => self
                    .paths
                    .iter()
                    .any(|rule| rule.covers(info.verb, &info.path)),
            }
    }
}

impl Subject {
    fn parse(subject: &Value) -> Option<Subject> {
        Some(match text(subject, "/kind") {
            "User" => match text(subject, "/user/name") {
                "*" => Self::Anybody,
                name => Self::User(name.into()),
            },
            "Group" => match text(subject, "/group/name") {
                "*" => Self::Anybody,
                name => Self::Group(name.into()),
            },
            "ServiceAccount" => {
                let place = text(subject, "/serviceAccount/namespace");
                match text(subject, "/serviceAccount/name") {
                    "*" => Self::Accounts(format!("system:serviceaccount:{place}:").into()),
                    name => Self::User(format!("system:serviceaccount:{place}:{name}").into()),
                }
            }
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::Anybody => true,
            Self::User(name) => user.name == **name,
            Self::Group(name) => user.is_in(name),
            Self::Accounts(start) => user.name.starts_with(&**start),
        }
    }
}

impl ResourceRule {
    fn parse(rule: &Value) -> ResourceRule {
        ResourceRule {
            verbs: Names::parse(rule, "/verbs"),
            groups: Names::parse(rule, "/apiGroups"),
            resources: Names::parse(rule, "/resources"),
            namespaces: Names::parse(rule, "/namespaces"),
            cluster: rule["clusterScope"] == true,
        }
    }

    fn covers(&self, verb: &str, path: &ResourcePath) -> bool {
        self.verbs.has(verb)
            && self.resources.any(|have| is_resource(have, path))
            && self.groups.has(&path.group)
            && match place(path) {
                Some(namespace) => self.namespaces.has(namespace),
                None => self.cluster,
            }
    }
}

/// Whether `have` is `plural`, or `plural/subresource` where the path has one.
fn is_resource(have: &str, path: &ResourcePath) -> bool {
    match &path.subresource {
        None => have == path.plural,
        Some(subresource) => {
            let sub = have.strip_prefix(path.plural.as_str());
            sub.and_then(|sub| sub.strip_prefix('/')) == Some(subresource)
        }
    }
}

impl PathRule {
    fn parse(rule: &Value) -> PathRule {
        let paths = match Names::parse(rule, "/nonResourceURLs") {
            Names::All => None,
            Names::These(paths) => Some(paths.into_iter().map(Root::new).collect()),
        };
        PathRule {
            verbs: Names::parse(rule, "/verbs"),
            paths,
        }
    }

    fn covers(&self, verb: &str, path: &str) -> bool {
        let covers = |root: &Root| root.covers(path);
        let paths = self.paths.as_ref();
        self.verbs.has(verb) && paths.is_none_or(|roots| roots.iter().any(covers))
    }
}

impl Root {
    fn new(path: Box<str>) -> Self {
        let below = format!("{}/", path.trim_end_matches(['*', '/'])).into();
        Self { path, below }
    }

    fn covers(&self, path: &str) -> bool {
        *self.path == *path || path.starts_with(&*self.below)
    }
}
