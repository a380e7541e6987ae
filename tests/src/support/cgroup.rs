//! The cgroup2 directories of a cluster.
//!
//! Layout below the cgroup2 mount: `naru-dev/node1/daemons` holds containerd, its shims and
//! `naru-node`; `naru-dev/node1/pods` is the parent of the pods. Programs attached at `naru-dev/node1`
//! see both. Daemons stand beside the pods, not above them: with cgroup v2 alone a directory that
//! hands controllers to its children may hold no process.
//!
//! Where the machine still has v1 controllers beside cgroup2, runc makes directories of the same
//! names in those hierarchies; removal covers them all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::wait;

const END_LIMIT: Duration = Duration::from_secs(10);

/// The cgroup directory of one cluster.
#[derive(Debug, Clone)]
pub struct CgroupTree {
    mount: PathBuf,
    name: String,
}

impl CgroupTree {
    /// The tree called `name` below the machine's cgroup2 mount.
    ///
    /// # Errors
    /// When no cgroup2 is mounted.
    pub fn find(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
        let mount = cgroup_mounts(&mounts)
            .v2
            .ok_or_else(|| anyhow!("no cgroup2 is mounted"))?;
        Ok(Self {
            mount,
            name: name.to_owned(),
        })
    }

    /// Directory of `path` within the tree, for example `node1/daemons`.
    pub fn dir(&self, path: &str) -> PathBuf {
        self.mount.join(&self.name).join(path)
    }

    /// The same as runc names it: absolute, below the mount.
    pub fn runtime_name(&self, path: &str) -> String {
        format!("/{}/{path}", self.name)
    }

    /// Makes the directory of `path`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(&self, path: &str) -> Result<PathBuf> {
        let dir = self.dir(path);
        fs::create_dir_all(&dir).with_context(|| format!("cgroup {}", dir.display()))?;
        Ok(dir)
    }

    /// Kills every process in the tree and waits until none is left.
    ///
    /// # Errors
    /// When processes survive (uninterruptible) for ten seconds.
    pub fn kill(&self) -> Result<()> {
        let top = self.dir("");
        if !top.exists() {
            return Ok(());
        }
        wait::holds("the end of every process of the cluster", END_LIMIT, || {
            fs::write(top.join("cgroup.kill"), "1").ok();
            !populated(&top)
        })
    }

    /// Removes the tree from every hierarchy.
    ///
    /// # Errors
    /// When a directory stays busy.
    pub fn remove(&self) -> Result<()> {
        for top in self.present()? {
            wait::until("removal of a cgroup", END_LIMIT, || {
                remove_tree(&top)
                    .map(Some)
                    .with_context(|| format!("rmdir {}", top.display()))
            })?;
        }
        Ok(())
    }

    /// The top directories of this tree that exist, in any hierarchy.
    ///
    /// # Errors
    /// When the mounts can't be read.
    pub fn present(&self) -> Result<Vec<PathBuf>> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let found = cgroup_mounts(&mounts);
        let tops = found
            .v1
            .into_iter()
            .chain(found.v2)
            .map(|m| m.join(&self.name));
        Ok(tops.filter(|p| p.exists()).collect())
    }
}

struct CgroupMounts {
    v1: Vec<PathBuf>,
    v2: Option<PathBuf>,
}

/// The cgroup mounts in the text of `/proc/self/mounts`.
fn cgroup_mounts(mounts: &str) -> CgroupMounts {
    let of_type = |wanted: &'static str| {
        mounts.lines().filter_map(move |line| {
            let mut words = line.split(' ').skip(1);
            let (point, kind) = (words.next()?, words.next()?);
            (kind == wanted).then(|| PathBuf::from(point))
        })
    };
    CgroupMounts {
        v1: of_type("cgroup").collect(),
        v2: of_type("cgroup2").next(),
    }
}

fn populated(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"))
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_cgroups_are_understood() {
        let plain = cgroup_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
        assert_eq!(plain.v2.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        let hybrid = cgroup_mounts(
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
        );
        assert_eq!(
            hybrid.v2.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(hybrid.v1, [Path::new("/sys/fs/cgroup/cpu")]);
    }
}
