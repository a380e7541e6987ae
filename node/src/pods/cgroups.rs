//! The pod-level cgroups, which the runtime makes and never removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removes `cgroup` (as the runtime names it) from the unified and from every older hierarchy.
///
/// # Errors
/// A group that still has processes, or whatever else the kernel answers.
pub fn remove(cgroup: &str) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    for hierarchy in hierarchies(&table) {
        remove_tree(&hierarchy.join(cgroup.trim_start_matches('/')))?;
    }
    Ok(())
}

/// Mount points of cgroup hierarchies in a table like `/proc/mounts` (proc(5)).
pub fn hierarchies(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (point, kind) = (words.next()?, words.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
        })
        .collect()
}

/// Children first: the kernel removes only empty groups.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_is_found_and_nothing_else() {
        let table = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                     cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n";
        let found = hierarchies(table);
        let expected = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"].map(PathBuf::from);
        assert_eq!(found, expected);
    }
}
