//! The kubectl programs of this machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow};
use naru_tests::support::layout::target_dir;

/// A kubectl for our own use: the user's where there is one.
///
/// # Errors
/// When there is none at all.
pub(crate) fn any() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("kubectl"))
        .find(|p| p.is_file());
    found.map_or_else(newest, Ok)
}

/// The newest kubectl: the user's, one that stands beside it, or Debian's.
///
/// # Errors
/// When there is none at all.
pub(crate) fn newest() -> Result<PathBuf> {
    let known = candidates()
        .into_iter()
        .filter_map(|p| Some((version(&p)?, p)));
    known
        .max()
        .map(|(_, path)| path)
        .ok_or_else(|| anyhow!("no kubectl was found"))
}

/// Programs called `kubectl` or `kubectl.1.33`, on the path and beside what a link there points to.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let linked = dirs.iter().filter_map(|d| {
        d.join("kubectl")
            .canonicalize()
            .ok()?
            .parent()
            .map(PathBuf::from)
    });
    let linked: Vec<_> = linked.collect();
    dirs.extend(linked);
    let entries = dirs
        .iter()
        .filter_map(|d| std::fs::read_dir(d).ok())
        .flatten()
        .flatten();
    let named = entries
        .filter(|e| is_kubectl(&e.file_name().to_string_lossy()))
        .map(|e| e.path());
    named
        .chain([target_dir().join("tools/bin/kubectl-1.20")])
        .collect()
}

fn is_kubectl(name: &str) -> bool {
    name == "kubectl" || name.starts_with("kubectl.1.")
}

fn version(program: &PathBuf) -> Option<(u32, u32)> {
    if let Some(version) = version_in_name(&program.file_name()?.to_string_lossy()) {
        return Some(version);
    }
    let output = Command::new(program)
        .args(["version", "--client", "-o", "json"])
        .output()
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Asking a program takes tenths of a second; a name like `kubectl.1.33` has said it already.
fn version_in_name(name: &str) -> Option<(u32, u32)> {
    let (major, minor) = name
        .strip_prefix("kubectl")?
        .trim_start_matches(['.', '-'])
        .split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Vendors append signs to the minor number ("32+").
fn parse_version(json: &str) -> Option<(u32, u32)> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let number = |key: &str| {
        let text = value["clientVersion"][key].as_str()?;
        text.trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .ok()
    };
    Some((number("major")?, number("minor")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_version_numbers_are_understood() {
        let json = r#"{"clientVersion":{"major":"1","minor":"32+"}}"#;
        assert_eq!(parse_version(json), Some((1, 32)));
        assert_eq!(parse_version("nonsense"), None);
    }

    #[test]
    fn a_version_in_the_name_is_believed() {
        assert_eq!(version_in_name("kubectl.1.33"), Some((1, 33)));
        assert_eq!(version_in_name("kubectl-1.20"), Some((1, 20)));
        assert_eq!(version_in_name("kubectl"), None);
    }

    #[test]
    fn plugins_of_kubectl_are_not_kubectl() {
        assert!(is_kubectl("kubectl") && is_kubectl("kubectl.1.33"));
        assert!(!is_kubectl("kubectl-convert"));
    }
}
