//! Which resources are sealed by which keys: `apiserver.config.k8s.io/v1 EncryptionConfiguration`.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::key::Key;
use crate::store::ResourceDef;

/// Why an encryption configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// It is no configuration; the text says where and why.
    #[error("is no encryption configuration: {0}")]
    Parse(String),
    /// It says something that has no sense, or that is not done here.
    #[error("{}", .0.join("; "))]
    Faults(Vec<String>),
}

/// What is sealed and how; nothing by default.
#[derive(Clone, Default)]
pub struct Encryption(Arc<Vec<Rule>>);

/// How some resources are stored.
pub(super) struct Rule {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.` for the core group, `*.*`.
    patterns: Vec<String>,
    /// Any of them may have sealed what is read.
    pub(super) keys: Vec<Key>,
    /// Whether what is written is left as it is.
    plain: bool,
}

impl Rule {
    /// The key that seals what is written.
    pub(super) fn writer(&self) -> Option<&Key> {
        self.keys.first().filter(|_| !self.plain)
    }
}

// No `Debug` from here to the keys: secrets stand in here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[allow(dead_code, reason = "written by people, read by nobody")]
    metadata: IgnoredAny,
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    resources: Vec<String>,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Provider {
    Aesgcm(Keys),
    Identity(Nothing),
    Aescbc(IgnoredAny),
    Secretbox(IgnoredAny),
    Kms(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    secret: String,
}

impl Encryption {
    /// Reads the file at `path`; `known` are the resources that the store is opened with.
    ///
    /// # Errors
    /// See [`EncryptionError`].
    pub fn read(path: &Path, known: &[ResourceDef]) -> Result<Self, EncryptionError> {
        let text = std::fs::read_to_string(path).map_err(EncryptionError::Read)?;
        Self::parse(&text, known)
    }

    /// Reads YAML or JSON; every fault is named.
    ///
    /// # Errors
    /// See [`EncryptionError`].
    pub fn parse(text: &str, known: &[ResourceDef]) -> Result<Self, EncryptionError> {
        let file = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            EncryptionError::Parse(first.trim_start_matches("error: ").to_owned())
        });
        let file: File = file?;
        if file.api_version != "apiserver.config.k8s.io/v1"
            || file.kind != "EncryptionConfiguration"
        {
            return Err(EncryptionError::Parse(format!(
                "it is {:?} of {:?}, wanted is \"EncryptionConfiguration\" of \
                 \"apiserver.config.k8s.io/v1\"",
                file.kind, file.api_version
            )));
        }
        let mut faults = Vec::new();
        let entries = file.resources.into_iter().enumerate();
        let rules = entries.map(|(index, entry)| {
            let at = format!("resources[{index}]");
            check_patterns(&entry.resources, &at, known, &mut faults);
            rule(entry, &at, &mut faults)
        });
        let rules: Vec<_> = rules.collect();
        if rules.is_empty() {
            faults.push("resources: at least one entry is needed".to_owned());
        }
        if faults.is_empty() {
            Ok(Self(Arc::new(rules)))
        } else {
            Err(EncryptionError::Faults(faults))
        }
    }

    /// The first rule about a resource, `plural` or `plural.group`.
    pub(super) fn of(&self, resource: &str) -> Option<&Rule> {
        let covered = |rule: &&Rule| {
            let mut patterns = rule.patterns.iter();
            patterns.any(|pattern| covers(pattern, resource))
        };
        self.0.iter().find(covered)
    }

    /// Whether everything is stored as it is.
    pub(super) fn is_off(&self) -> bool {
        self.0.iter().all(|rule| rule.writer().is_none())
    }
}

fn covers(pattern: &str, resource: &str) -> bool {
    match (pattern.strip_prefix("*."), resource.split_once('.')) {
        (Some("*"), _) | (Some(""), None) => true,
        (Some(wanted), Some((_, group))) => wanted == group,
        (Some(_), None) => false,
        (None, _) => pattern == resource,
    }
}

fn check_patterns(patterns: &[String], at: &str, known: &[ResourceDef], faults: &mut Vec<String>) {
    if patterns.is_empty() {
        faults.push(format!("{at}.resources: at least one is needed"));
    }
    for pattern in patterns {
        let wrong = if pattern.contains('*') && !is_wildcard(pattern) {
            "wildcards are \"*.\" for the core group, \"*.GROUP\" and \"*.*\""
        } else if pattern.contains('.') || known.iter().any(|def| def.row_name() == *pattern) {
            // A group's resources may come with a definition later.
            continue;
        } else {
            "there is no such resource; those of a group are named PLURAL.GROUP"
        };
        faults.push(format!("{at}.resources: {pattern:?}: {wrong}"));
    }
}

fn is_wildcard(pattern: &str) -> bool {
    let group = pattern.strip_prefix("*.");
    group.is_some_and(|group| group == "*" || !group.contains('*'))
}

fn rule(entry: Entry, at: &str, faults: &mut Vec<String>) -> Rule {
    let plain = matches!(entry.providers.first(), Some(Provider::Identity(_)));
    if entry.providers.is_empty() {
        faults.push(format!("{at}.providers: at least one is needed"));
    }
    let mut keys: Vec<Key> = Vec::new();
    for (index, provider) in entry.providers.into_iter().enumerate() {
        let at = format!("{at}.providers[{index}]");
        let unsupported = match provider {
            Provider::Identity(Nothing {}) => continue,
            Provider::Aesgcm(named) => {
                add_keys(named, &at, &mut keys, faults);
                continue;
            }
            Provider::Aescbc(_) => "aescbc",
            Provider::Secretbox(_) => "secretbox",
            Provider::Kms(_) => "kms",
        };
        faults.push(format!(
            "{at}: {unsupported} is not supported, only aesgcm and identity are"
        ));
    }
    Rule {
        patterns: entry.resources,
        keys,
        plain,
    }
}

fn add_keys(named: Keys, at: &str, keys: &mut Vec<Key>, faults: &mut Vec<String>) {
    if named.keys.is_empty() {
        faults.push(format!("{at}.aesgcm.keys: at least one is needed"));
    }
    for (index, Named { name, secret }) in named.keys.into_iter().enumerate() {
        let at = format!("{at}.aesgcm.keys[{index}]");
        if name.is_empty() || name.contains(':') {
            faults.push(format!("{at}.name: {name:?} must be a name without \":\""));
        } else if keys.iter().any(|key| key.name == name) {
            faults.push(format!("{at}.name: {name:?} is the name of another key"));
        }
        let secret = STANDARD.decode(secret.trim()).ok();
        match secret.and_then(|secret| Key::new(&name, &secret)) {
            Some(key) => keys.push(key),
            None => faults.push(format!("{at}.secret: must be 16, 24 or 32 bytes in base64")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
    const KNOWN: &[ResourceDef] = &[ResourceDef {
        group: "",
        plural: "secrets",
        fields: &[],
        paths: &[],
    }];

    fn key(name: &str) -> String {
        format!("{{name: {name}, secret: AAAAAAAAAAAAAAAAAAAAAA==}}")
    }

    fn entry(resources: &str, names: &[&str]) -> String {
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        let keys = keys.join(", ");
        format!("- {{resources: [{resources}], providers: [aesgcm: {{keys: [{keys}]}}]}}\n")
    }

    #[test]
    fn the_first_rule_that_covers_a_resource_counts() {
        let text = [
            entry("secrets, deployments.apps", &["a", "old"]),
            "- {resources: [events.events.k8s.io], providers: [identity: {}]}\n".into(),
            entry("\"*.apps\"", &["b"]),
            entry("\"*.\"", &["c"]),
            entry("\"*.*\"", &["d"]),
        ];
        let text = format!("{HEAD}{}", text.concat());
        let encryption = Encryption::parse(&text, KNOWN).unwrap();
        let writer = |resource| Some(encryption.of(resource)?.writer()?.name.as_str());
        for (resource, wanted) in [
            ("secrets", Some("a")),
            ("deployments.apps", Some("a")),
            ("replicasets.apps", Some("b")),
            ("pods", Some("c")),
            ("widgets.apps.example.com", Some("d")),
            ("events.events.k8s.io", None),
        ] {
            assert_eq!(writer(resource), wanted, "{resource}");
        }
        assert!(!encryption.is_off() && Encryption::default().is_off());
    }

    #[test]
    fn every_fault_is_named_and_no_secret_is() {
        let said = |rest: &str| match Encryption::parse(&format!("{HEAD}{rest}"), KNOWN) {
            Ok(_) => panic!("{rest}"),
            Err(error) => error.to_string(),
        };
        let kms =
            "- {resources: [secrets], providers: [kms: {name: x, endpoint: unix}, aescbc: {}]}";
        for (rest, wanted) in [
            (kms.to_owned(), "resources[0].providers[0]: kms is not"),
            (kms.to_owned(), "resources[0].providers[1]: aescbc is not"),
            (entry("secret", &["a"]), "\"secret\": there is no such"),
            (entry("\"*\"", &["a"]), "wildcards are"),
            (entry("secrets", &["a", "a"]), "keys[1].name: \"a\" is the"),
            (entry("secrets", &["\"a:b\""]), "without \":\""),
            (entry("secrets", &["a"]).replace("AAAA", "A"), "16, 24 or"),
            (entry("secrets", &[]), "aesgcm.keys: at least one"),
            (entry("", &["a"]), "resources[0].resources: at least one"),
            ("- {resources: [secrets], providers: []}".into(), "at least"),
            ("- {resources: [secrets], provider: []}".into(), "provider"),
            ("- {resources: [secrets], providers: [x: {}]}".into(), "x"),
        ] {
            let said = said(&rest);
            assert!(said.contains(wanted), "{said}");
            assert!(!said.contains("AAAA") && !said.contains('\n'), "{said}");
        }
        let other = HEAD.replace("/v1", "/v2").replace("s:\n", "s: []\n");
        assert!(Encryption::parse(&other, KNOWN).is_err());
    }
}
