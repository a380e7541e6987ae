//! What is recorded, and how much of it: `audit.k8s.io/v1 Policy`. Pure but for [`Policy::read`].

use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::api::authn::User;
use crate::api::request::{RequestInfo, ResourcePath};
use crate::registry::rules::is_dns_subdomain;

/// How much of a request is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who did what to what, and how it ended.
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

/// A moment of a request at which an event is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It has arrived.
    #[default]
    RequestReceived,
    /// The head of the answer is under way; of answers that go on, as those of watches.
    ResponseStarted,
    /// The answer is complete, or the client gone.
    ResponseComplete,
    /// The server failed.
    Panic,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// It is no policy; the text says where and why.
    #[error("is no audit policy: {0}")]
    Parse(String),
    /// It is another kind of object.
    #[error("is {kind:?} of {version:?}, wanted is \"Policy\" of \"audit.k8s.io/v1\"")]
    Kind {
        /// The kind.
        kind: String,
        /// The version.
        version: String,
    },
    /// Its rules say something that has no sense.
    #[error("{}", .0.join("; "))]
    Rules(Vec<String>),
}

/// The rules, of which the first that fits counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[allow(dead_code, reason = "written by people, read by nobody")]
    metadata: IgnoredAny,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What is recorded of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How much.
    pub(super) level: Level,
    /// Moments that are left out.
    pub(super) omitted: Vec<Stage>,
    /// Leave `metadata.managedFields` out of objects.
    pub(super) strip: bool,
}

impl Policy {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub(super) fn read(path: &Path) -> Result<Self, PolicyError> {
        Self::parse(&std::fs::read_to_string(path).map_err(PolicyError::Read)?)
    }

    /// Reads YAML or JSON; every fault of the rules is named.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            PolicyError::Parse(first.trim_start_matches("error: ").to_owned())
        });
        let policy: Self = policy?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(PolicyError::Kind {
                kind: policy.kind,
                version: policy.api_version,
            });
        }
        match policy.faults() {
            faults if faults.is_empty() => Ok(policy),
            faults => Err(PolicyError::Rules(faults)),
        }
    }

    fn faults(&self) -> Vec<String> {
        if self.rules.is_empty() {
            return vec!["rules: a policy needs at least one".to_owned()];
        }
        let rules = self.rules.iter().enumerate();
        let faults = rules.flat_map(|(index, rule)| rule.faults(&format!("rules[{index}]")));
        faults.collect()
    }

    /// What is recorded of a request of `user`; what no rule fits is not recorded.
    pub(super) fn verdict(&self, user: &User, info: &RequestInfo) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(user, info)) else {
            return Verdict::default();
        };
        let omitted = self.omit_stages.iter().chain(&rule.omit_stages).copied();
        Verdict {
            level: rule.level,
            omitted: omitted.collect(),
            strip: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn faults(&self, at: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if about_resources && !self.paths.is_empty() {
            faults.push(format!(
                "{at}: a rule is about resources and namespaces or about nonResourceURLs, not both"
            ));
        }
        for path in self.paths.iter().filter(|path| !is_path_pattern(path)) {
            faults.push(format!(
                "{at}.nonResourceURLs: {path:?} must be \"*\" or begin with \"/\", with at most \
                 one \"*\" at its end"
            ));
        }
        for (index, entry) in self.resources.iter().enumerate() {
            let at = format!("{at}.resources[{index}]");
            if !entry.group.is_empty() && !is_dns_subdomain(&entry.group) {
                let group = &entry.group;
                faults.push(format!(
                    "{at}.group: {group:?} is no group without a version"
                ));
            }
            if !entry.resource_names.is_empty() && entry.resources.is_empty() {
                faults.push(format!(
                    "{at}.resourceNames: need at least one of resources"
                ));
            }
        }
        faults
    }

    fn fits(&self, user: &User, info: &RequestInfo) -> bool {
        let in_group = || self.user_groups.iter().any(|group| user.is_in(group));
        allows(&self.users, &user.name)
            && (self.user_groups.is_empty() || in_group())
            && allows(&self.verbs, info.verb)
            && self.fits_resource(info.resource.as_ref())
            && self.fits_path(info)
    }

    fn fits_resource(&self, path: Option<&ResourcePath>) -> bool {
        if self.resources.is_empty() && self.namespaces.is_empty() {
            return true;
        }
        path.is_some_and(|path| {
            let entry = self.resources.is_empty() || self.resources.iter().any(|it| it.fits(path));
            entry && allows(&self.namespaces, namespace_of(path))
        })
    }

    fn fits_path(&self, info: &RequestInfo) -> bool {
        let covers = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => info.path.starts_with(prefix),
            None => *pattern == info.path,
        };
        self.paths.is_empty() || info.resource.is_none() && self.paths.iter().any(covers)
    }
}

impl Resources {
    fn fits(&self, path: &ResourcePath) -> bool {
        let subresource = path.subresource.as_deref().unwrap_or_default();
        let mut patterns = self.resources.iter();
        let listed = patterns.any(|pattern| covers(pattern, &path.plural, subresource));
        let named = || allows(&self.resource_names, path.one_name().unwrap_or_default());
        self.group == path.group && (self.resources.is_empty() || listed && named())
    }
}

/// Whether a list names `text`; one without entries names everything.
fn allows(list: &[String], text: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == text)
}

fn is_path_pattern(path: &str) -> bool {
    let star = path.find('*');
    path == "*" || path.starts_with('/') && star.is_none_or(|star| star + 1 == path.len())
}

/// The namespace that a request is about: for a Namespace that itself, for what has none "".
pub(super) fn namespace_of(path: &ResourcePath) -> &str {
    let namespace = match &path.namespace {
        None if path.group.is_empty() && path.plural == "namespaces" => &path.name,
        namespace => namespace,
    };
    namespace.as_deref().unwrap_or_default()
}

/// Whether a pattern (`pods`, `pods/log`, `pods/*`, `*/scale`, `*`) covers a resource.
fn covers(pattern: &str, plural: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        None => pattern == "*" || pattern == plural && subresource.is_empty(),
        Some((one, "*")) => one == plural,
        Some(("*", other)) => other == subresource,
        Some((one, other)) => one == plural && other == subresource,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::api::request::Query;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:kube-proxy]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services/status]}]
- level: None
  userGroups: [system:authenticated]
  nonResourceURLs: ["/api*", /version]
- level: Request
  namespaces: [kube-system]
  resources: [{resources: [configmaps], resourceNames: [controller]}]
- level: Metadata
  resources: [{resources: ["secrets", "*/token"]}]
- level: RequestResponse
  resources: [{group: apps}, {resources: ["pods/*"]}]
  omitManagedFields: true
  omitStages: [ResponseStarted]
- level: Metadata
  namespaces: [""]
"#;

    fn level(name: &str, method: Method, uri: &str) -> Level {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let info = RequestInfo::new(&method, path, &Query::new(query));
        let user = User {
            name: name.into(),
            groups: vec!["system:authenticated".into()],
            ..User::default()
        };
        Policy::parse(POLICY).unwrap().verdict(&user, &info).level
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let of = |uri: &str| level("jane", Method::GET, uri);
        let system = "/api/v1/namespaces/kube-system";
        for (uri, wanted) in [
            ("/apis".to_owned(), Level::None),
            ("/metrics".to_owned(), Level::None),
            (format!("{system}/configmaps/controller"), Level::Request),
            (format!("{system}/configmaps/other"), Level::None),
            (format!("{system}/secrets"), Level::Metadata),
            (format!("{system}/serviceaccounts/a/token"), Level::Metadata),
            (
                "/apis/apps/v1/deployments".to_owned(),
                Level::RequestResponse,
            ),
            (format!("{system}/pods/a/log"), Level::RequestResponse),
            (format!("{system}/pods/a"), Level::RequestResponse),
            (format!("{system}/services"), Level::None),
            // A Namespace counts as within itself, unlike the list of all.
            (system.to_owned(), Level::None),
            ("/api/v1/namespaces".to_owned(), Level::Metadata),
            (
                format!("{system}/configmaps?fieldSelector=metadata.name%3Dcontroller"),
                Level::Request,
            ),
            ("/api/v1/nodes".to_owned(), Level::Metadata),
        ] {
            assert_eq!(of(&uri), wanted, "{uri}");
        }
        let proxy = |uri: &str| level("system:kube-proxy", Method::GET, uri);
        assert_eq!(proxy("/api/v1/endpoints?watch=1"), Level::None);
        assert_eq!(proxy("/api/v1/endpoints"), Level::Metadata);
    }

    #[test]
    fn a_rule_adds_to_what_the_policy_leaves_out() {
        let info = RequestInfo::new(&Method::GET, "/apis/apps/v1/deployments", &Query::default());
        let verdict = Policy::parse(POLICY)
            .unwrap()
            .verdict(&User::default(), &info);
        assert!(verdict.strip);
        assert_eq!(
            verdict.omitted,
            [Stage::RequestReceived, Stage::ResponseStarted]
        );
    }

    #[test]
    fn a_policy_without_sense_is_refused_with_all_its_faults() {
        const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n";
        let rules = "- {level: None, namespaces: [a], nonResourceURLs: [/a*b]}\n\
            - {level: None, resources: [{resourceNames: [x]}, {group: apps/v1}]}\n";
        let said = Policy::parse(&format!("{HEAD}{rules}")).unwrap_err();
        let said = said.to_string();
        for part in [
            "rules[0]: a rule is about",
            "rules[0].nonResourceURLs: \"/a*b\"",
            "rules[1].resources[0].resourceNames",
            "rules[1].resources[1].group: \"apps/v1\"",
        ] {
            assert!(said.contains(part), "{said}");
        }
        for (wrong, why) in [
            (format!("{HEAD}- {{level: Some}}"), "Some"),
            (format!("{HEAD}- {{level: None, user: [a]}}"), "user"),
            (format!("{HEAD}- {{users: [a]}}"), "level"),
            (HEAD.replace("rules:", "rules: []"), "at least one"),
            (
                HEAD.replace("/v1", "/v2").replace("rules:", "rules: []"),
                "v2",
            ),
            ("hello".to_owned(), "policy"),
        ] {
            let said = Policy::parse(&wrong).unwrap_err().to_string();
            assert!(said.contains(why) && !said.contains('\n'), "{said}");
        }
    }
}
