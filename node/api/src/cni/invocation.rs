//! The environment of a call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Command;
use super::error::{CniError, code};

/// The environment variables of a call, checked for syntax.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// `CNI_CONTAINERID`, empty for GC and STATUS.
    pub container_id: String,
    /// `CNI_NETNS`: path of the container's network namespace; may be absent for DEL.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`, empty for GC and STATUS.
    pub ifname: String,
    /// `CNI_ARGS`, such as `K8S_POD_NAMESPACE`.
    pub args: BTreeMap<String, String>,
}

impl Invocation {
    /// Reads the variables that `command` needs out of the environment `var`.
    ///
    /// # Errors
    /// Code 4, naming every variable that is missing or malformed.
    pub fn from_env(
        command: Command,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CniError> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let about_container = matches!(command, Command::Add | Command::Del | Command::Check);
        let mut faults = Vec::new();
        let mut needed = |name: &str, valid: fn(&str) -> bool| match var(name) {
            Some(value) if valid(&value) => value,
            Some(_) if about_container => {
                faults.push(format!("{name} is malformed"));
                String::new()
            }
            None if about_container => {
                faults.push(format!("{name} is missing"));
                String::new()
            }
            _ => String::new(),
        };
        let container_id = needed("CNI_CONTAINERID", valid_container_id);
        let ifname = needed("CNI_IFNAME", valid_ifname);
        let netns = var("CNI_NETNS").map(PathBuf::from);
        if netns.is_none() && matches!(command, Command::Add | Command::Check) {
            faults.push("CNI_NETNS is missing".to_owned());
        }
        let args = parse_args(&var("CNI_ARGS").unwrap_or_default()).unwrap_or_else(|fault| {
            faults.push(fault);
            BTreeMap::new()
        });
        if !faults.is_empty() {
            return Err(CniError::new(code::INVALID_ENVIRONMENT, faults.join(", ")));
        }
        Ok(Self {
            container_id,
            netns,
            ifname,
            args,
        })
    }
}

/// Splits `KEY=VALUE;KEY=VALUE`.
///
/// # Errors
/// A sentence that names the first pair without a key.
pub fn parse_args(text: &str) -> Result<BTreeMap<String, String>, String> {
    text.split(';')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("CNI_ARGS has the invalid pair {pair:?}")),
        })
        .collect()
}

/// Specification: starts with an alphanumeric, goes on with those and `_.-`.
fn valid_container_id(id: &str) -> bool {
    id.len() <= 128
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// Linux: 1 to 15 bytes, no slash, colon or space, neither `.` nor `..`.
fn valid_ifname(name: &str) -> bool {
    name.len() <= 15
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: Command, vars: &[(&str, &str)]) -> Result<Invocation, CniError> {
        Invocation::from_env(command, |name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_missing_variable_is_named_at_once() {
        let error = read(Command::Add, &[]).unwrap_err();
        assert_eq!(error.code, code::INVALID_ENVIRONMENT);
        for name in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"] {
            assert!(error.msg.contains(name), "{}", error.msg);
        }
    }

    #[test]
    fn del_works_without_a_namespace_and_gc_without_a_container() {
        let vars = [("CNI_CONTAINERID", "a1"), ("CNI_IFNAME", "eth0")];
        assert_eq!(read(Command::Del, &vars).unwrap().netns, None);
        assert_eq!(read(Command::Gc, &[]).unwrap(), Invocation::default());
    }

    #[test]
    fn a_container_id_cannot_leave_its_directory() {
        for id in ["../x", "a/b", ".hidden", ""] {
            assert!(
                read(
                    Command::Del,
                    &[("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")]
                )
                .is_err()
            );
        }
    }

    #[test]
    fn args_are_pairs() {
        let args = parse_args("IgnoreUnknown=1;K8S_POD_NAME=web=1;").unwrap();
        assert_eq!(args["K8S_POD_NAME"], "web=1");
        assert!(parse_args("novalue").is_err());
    }
}
