//! Where a peer's processes run: in the cgroups of a pod, without the programs attached there.
//!
//! A process in a deep cgroup costs more to schedule and to account for than one at the root. Ends
//! that are compared therefore share their cgroups, so that only the network differs: those of the
//! older hierarchies are the pod's own, and in cgroup2, where our programs are attached, a
//! directory of the same depth beside the node's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use naru_tests::support::cgroup::CgroupTree;

/// The directories that a process joins.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(pub(super) Vec<PathBuf>);

impl Place {
    /// Beside the process `pid`, which runs in a pod of `node`. The cluster's end removes the new
    /// directory.
    ///
    /// # Errors
    /// When the process has ended, or the directory can't be made.
    pub(super) fn beside(pid: i32, tree: &CgroupTree, node: &str) -> Result<Self> {
        let file = format!("/proc/{pid}/cgroup");
        let groups = fs::read_to_string(&file).context(file)?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut dirs: Vec<_> = groups.lines().filter_map(|l| older(l, &mounts)).collect();
        let pod = groups.lines().find_map(|l| l.strip_prefix("0::"));
        let below = pod.and_then(|path| path.split_once(&format!("/{node}/")));
        let (_, below) = below.with_context(|| format!("cgroup of a pod in {groups:?}"))?;
        dirs.push(tree.create(&format!("plain/{below}"))?);
        Ok(Self(dirs))
    }
}

/// Directory of one line of `/proc/PID/cgroup` (cgroups(7)) in a hierarchy of version 1.
fn older(line: &str, mounts: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let mount = mounts.lines().find_map(|m| {
        let mut words = m.split(' ').skip(1);
        let (point, kind, options) = (words.next()?, words.next()?, words.next()?);
        let has = |wanted: &str| options.split(',').any(|option| option == wanted);
        let whole = !controllers.is_empty() && controllers.split(',').all(has);
        (kind == "cgroup" && whole).then_some(point)
    })?;
    Some(PathBuf::from(format!("{mount}{path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
        cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn a_line_is_found_in_its_hierarchy() {
        let found = older("1:cpu:/a/b", MOUNTS);
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/cpu/a/b")));
        let named = older("9:name=systemd:/", MOUNTS);
        assert_eq!(named, Some(PathBuf::from("/sys/fs/cgroup/systemd/")));
    }

    #[test]
    fn version_2_and_unmounted_hierarchies_are_left_out() {
        assert_eq!(older("0::/a", MOUNTS), None);
        assert_eq!(older("4:memory:/a", MOUNTS), None);
    }
}
