//! What a namespace asks of its pods, from its labels.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::registry::kind::{FieldError, FieldErrorReason};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much is forbidden, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing.
    Privileged,
    /// What is known to break out.
    Baseline,
    /// What is not hardened.
    Restricted,
}

/// The version of Kubernetes whose standards are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// The one of this minor version.
    Minor(u32),
    /// The newest.
    Latest,
}

/// A level of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// What its pods must keep to.
    pub(super) enforce: Standard,
    /// What the audit log tells of.
    pub(super) audit: Standard,
    /// What their writers hear about.
    pub(super) warn: Standard,
}

impl Standard {
    const NONE: Standard = Standard {
        level: Level::Privileged,
        version: Version::Latest,
    };
}

impl Policy {
    /// What nobody has to keep to.
    pub(super) const NONE: Policy = Policy {
        enforce: Standard::NONE,
        audit: Standard::NONE,
        warn: Standard::NONE,
    };

    /// The policy of a namespace and the faults in its labels. A level that is none counts as the
    /// strictest where it is enforced, and a version that is none as the newest.
    pub(super) fn of(namespace: &Value) -> (Policy, Vec<FieldError>) {
        let mut faults = Vec::new();
        let labels = namespace.pointer("/metadata/labels");
        let mut read = |mode: &str, fallback: Level| {
            let label = |key: &str| labels?.get(key)?.as_str().map(str::to_owned);
            let (level_key, version_key) =
                (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
            let mut standard = Standard::NONE;
            if let Some(text) = label(&level_key) {
                standard.level = Level::parse(&text).unwrap_or_else(|| {
                    let known = "must be one of privileged, baseline, restricted";
                    faults.push(fault(&level_key, &text, known));
                    fallback
                });
            }
            if let Some(text) = label(&version_key) {
                standard.version = Version::parse(&text).unwrap_or_else(|| {
                    let known = "must be \"latest\" or \"v1.x\"";
                    faults.push(fault(&version_key, &text, known));
                    Version::Latest
                });
            }
            standard
        };
        let enforce = read("enforce", Level::Restricted);
        let audit = read("audit", Level::Privileged);
        let warn = read("warn", Level::Privileged);
        let policy = Policy {
            enforce,
            audit,
            warn,
        };
        (policy, faults)
    }
}

fn fault(label: &str, text: &str, known: &str) -> FieldError {
    FieldError {
        field: format!("metadata.labels[{label}]"),
        reason: FieldErrorReason::Invalid,
        message: format!("{text:?}: {known}"),
    }
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let padded = digits.len() > 1 && digits.starts_with('0');
        let minor = digits.parse().ok()?;
        (plain && !padded).then_some(Version::Minor(minor))
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What is let through unseen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemptions {
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// Names of users.
    pub users: BTreeSet<String>,
    /// RuntimeClasses of pods.
    pub runtime_classes: BTreeSet<String>,
}

impl Exemptions {
    /// Adds `namespace=NAME`, `user=NAME` or `runtime-class=NAME`.
    ///
    /// # Errors
    /// The text that is none of these.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let set = match text.split_once('=') {
            Some(("namespace", name)) if !name.is_empty() => (&mut self.namespaces, name),
            Some(("user", name)) if !name.is_empty() => (&mut self.users, name),
            Some(("runtime-class", name)) if !name.is_empty() => (&mut self.runtime_classes, name),
            _ => {
                return Err(format!(
                    "{text:?} is neither namespace=NAME, user=NAME nor runtime-class=NAME"
                ));
            }
        };
        set.0.insert(set.1.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_say_level_and_version() {
        let (policy, faults) = Policy::of(&json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/enforce-version": "v1.24",
            "pod-security.kubernetes.io/warn": "restricted"}}}));
        assert_eq!(policy.enforce.to_string(), "baseline:v1.24");
        assert_eq!(policy.warn.to_string(), "restricted:latest");
        assert!(faults.is_empty());
        assert_eq!(Policy::of(&json!({})).0, Policy::NONE);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_enforced_strictly() {
        let (policy, faults) = Policy::of(&json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "strict",
            "pod-security.kubernetes.io/audit-version": "1.24"}}}));
        assert_eq!(policy.enforce.to_string(), "restricted:latest");
        assert_eq!(faults.len(), 2, "{faults:?}");
        for text in ["v1.", "v1.02", "v1.+2", "v2.1", "", "Latest"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn exemptions_are_of_three_sorts() {
        let mut exempt = Exemptions::default();
        exempt.add("namespace=kube-system").unwrap();
        exempt.add("user=system:serviceaccount:a:b").unwrap();
        exempt.add("runtime-class=kata").unwrap();
        assert!(exempt.namespaces.contains("kube-system"));
        assert!(exempt.add("pod=x").is_err());
        assert!(exempt.add("user=").is_err());
    }
}
