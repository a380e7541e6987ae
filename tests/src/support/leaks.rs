//! What a cluster left on the machine: nothing, if `down` did its work.

use std::fs;

use anyhow::Result;

use super::cgroup::CgroupTree;
use super::layout::Layout;
use super::{mounts, network, run};

/// Everything of this cluster that still exists, one line each; empty when all is clean.
///
/// # Errors
/// When the machine can't be examined.
pub fn find(layout: &Layout) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut add =
        |kind: &str, items: Vec<String>| found.extend(items.iter().map(|i| format!("{kind} {i}")));
    let cgroups = CgroupTree::find(&layout.prefix())?;
    add("namespace", network::present(layout)?);
    add("mount", paths(mounts::below(&layout.root())?));
    add("cgroup", paths(cgroups.present()?));
    add("process", processes(&layout.prefix())?);
    add("link", links()?);
    Ok(found)
}

fn paths(paths: Vec<std::path::PathBuf>) -> Vec<String> {
    paths.into_iter().map(|p| p.display().to_string()).collect()
}

/// Processes that belong to a cgroup of the cluster, whatever their parent.
fn processes(prefix: &str) -> Result<Vec<String>> {
    let marker = format!("/{prefix}/");
    let numeric = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        // An ended process that its parent has not reaped yet has no memory and no command line.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if numeric(&pid) && groups.contains(&marker) && !command.is_empty() {
            found.push(format!(
                "{pid} {}",
                String::from_utf8_lossy(&command).replace('\0', " ")
            ));
        }
    }
    Ok(found)
}

/// Links of ours on the machine itself; there must never be one.
fn links() -> Result<Vec<String>> {
    let list = run::run("ip", &["-o", "link", "show"])?;
    let names = list.lines().filter_map(|line| line.split(": ").nth(1));
    Ok(names
        .filter(|n| n.starts_with("naru"))
        .map(str::to_owned)
        .collect())
}
