//! `tidy`: what the repository promises about itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use naru_tests::support::layout::checkout;
use naru_tests::support::run;

use crate::compile::cargo;
use crate::progress::step;

/// Packages that must not be in the tree: one crypto provider, no C TLS library.
const UNWANTED: [&str; 4] = ["ring", "openssl", "openssl-sys", "native-tls"];

/// Checks everything and reports every fault at once.
///
/// # Errors
/// When a promise is broken.
pub(crate) fn run() -> Result<()> {
    step("tidy: manifests, modules, dependencies");
    let mut faults = lints_not_inherited()?;
    faults.extend(orphans(&sources(&checkout())?)?);
    faults.extend(unwanted_packages()?);
    ensure!(faults.is_empty(), "tidy:\n  {}", faults.join("\n  "));
    step("tidy: formatting");
    cargo(&["fmt", "--all", "--check"], &[])?;
    step("tidy: clippy");
    cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )
}

fn lints_not_inherited() -> Result<Vec<String>> {
    let manifests = run::run(
        "git",
        &[
            "-C",
            &checkout().to_string_lossy(),
            "ls-files",
            "*Cargo.toml",
        ],
    )?;
    let mut faults = Vec::new();
    for name in manifests.lines().filter(|n| *n != "Cargo.toml") {
        let text = fs::read_to_string(checkout().join(name))?;
        // A workspace of its own can't inherit; it has lints of its own.
        if !text.contains("[workspace]") && !text.contains("[lints]\nworkspace = true") {
            faults.push(format!(
                "{name}: lints are not inherited from the workspace"
            ));
        }
    }
    Ok(faults)
}

fn unwanted_packages() -> Result<Vec<String>> {
    let mut cargo = std::process::Command::new("cargo");
    cargo.args([
        "tree",
        "--workspace",
        "--prefix",
        "none",
        "--edges",
        "normal,build",
    ]);
    let tree = run::checked(cargo.current_dir(checkout()))?;
    Ok(unwanted_in(&tree))
}

fn unwanted_in(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut found: Vec<_> = names
        .filter(|n| UNWANTED.contains(n))
        .map(|n| format!("{n} is in the dependency tree"))
        .collect();
    found.dedup();
    found
}

/// Every Rust source file below a `src` directory.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let list = run::run(
        "git",
        &[
            "-C",
            &root.to_string_lossy(),
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ],
    )?;
    Ok(list
        .lines()
        .map(|name| root.join(name))
        .filter(|p| p.components().any(|c| c.as_os_str() == "src"))
        .collect())
}

/// Files that no `mod` declares: they are never compiled, and their tests never run.
fn orphans(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|f| f.exists()) {
        let Some((name, parents)) = declared_by(file) else {
            continue;
        };
        let declared = parents
            .iter()
            .filter_map(|p| fs::read_to_string(p).ok())
            .any(|text| declares(&text, &name));
        if !declared {
            faults.push(format!("{}: no `mod {name}` declares it", file.display()));
        }
    }
    Ok(faults)
}

/// The module's name and the files that may declare it; `None` for the root of a crate.
fn declared_by(file: &Path) -> Option<(String, Vec<PathBuf>)> {
    let stem = file.file_stem()?.to_str()?;
    let dir = file.parent()?;
    if matches!(stem, "lib" | "main" | "build") || dir.ends_with("src/bin") {
        return None;
    }
    let (name, home) = if stem == "mod" {
        (dir.file_name()?.to_str()?, dir.parent()?)
    } else {
        (stem, dir)
    };
    let mut parents: Vec<_> = ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .map(|f| home.join(f))
        .collect();
    parents.push(home.with_extension("rs"));
    Some((name.to_owned(), parents))
}

fn declares(text: &str, name: &str) -> bool {
    let wanted = format!("mod {name};");
    text.lines().any(|line| line.trim_end().ends_with(&wanted))
        || text.contains(&format!("/{name}.rs\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_file_is_declared_by_its_directory() {
        let (name, parents) = declared_by(Path::new("x/src/a/b.rs")).unwrap();
        assert_eq!(name, "b");
        assert!(
            parents.contains(&PathBuf::from("x/src/a/mod.rs"))
                && parents.contains(&PathBuf::from("x/src/a.rs"))
        );
        assert!(declared_by(Path::new("x/src/main.rs")).is_none());
        assert!(declares("pub(crate) mod b;\n", "b") && !declares("mod bb;\n", "b"));
    }

    #[test]
    fn a_second_crypto_provider_is_noticed() {
        assert_eq!(unwanted_in("naru v0.1.0\nring v0.17.8\n").len(), 1);
        assert!(unwanted_in("ringbuf v0.1.0\n").is_empty());
    }
}
