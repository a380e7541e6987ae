//! Where a cluster keeps its files and what its namespaces are called.
//!
//! Every path and name follows from the target directory and the cluster's name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Names and paths of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The cluster's name, `dev` unless told otherwise.
    pub cluster: String,
    target: PathBuf,
}

impl Layout {
    /// The layout of `cluster` below cargo's target directory.
    ///
    /// # Errors
    /// When the name is unfit for a namespace, a cgroup and a directory.
    pub fn new(cluster: &str, target: &Path) -> Result<Self> {
        ensure!(
            fit(cluster),
            "cluster name {cluster:?}: 1 to 12 lowercase letters or digits, beginning with a letter"
        );
        ensure!(
            !RESERVED.contains(&cluster),
            "cluster name {cluster:?} is a directory of cargo's"
        );
        Ok(Self {
            cluster: cluster.to_owned(),
            target: std::path::absolute(target)?,
        })
    }

    /// The layout below the target directory of this checkout.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn of_checkout(cluster: &str) -> Result<Self> {
        Self::new(cluster, &target_dir())
    }

    /// cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A program that cargo built.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.target.join("release").join(name);
        ensure!(
            path.is_file(),
            "{} is missing: `cargo xtask build` makes it",
            path.display()
        );
        Ok(path)
    }

    /// A program from a package that xtask unpacked without installing it.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.target.join("tools/bin").join(name)
    }

    /// OCI archives that every node imports.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn images(&self) -> Result<Vec<PathBuf>> {
        let dir = self.target.join("images");
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("images in {}", dir.display()))?;
        let mut images: Vec<_> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "tar"))
            .collect();
        images.sort();
        Ok(images)
    }

    /// Everything that belongs to this cluster alone.
    pub fn root(&self) -> PathBuf {
        self.target.join(&self.cluster)
    }

    /// Files of one node, or of `control1`.
    pub fn member(&self, role: &str) -> PathBuf {
        self.root().join(role)
    }

    /// Log of a daemon.
    pub fn log(&self, daemon: &str) -> PathBuf {
        self.root().join("logs").join(format!("{daemon}.log"))
    }

    /// Credentials of the administrator, for use from the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root().join("kubeconfig")
    }

    /// The record of what runs.
    pub fn ledger(&self) -> PathBuf {
        self.root().join("cluster.json")
    }

    /// Mount point of the bpffs in which the nodes pin.
    pub fn bpffs(&self) -> PathBuf {
        self.root().join("bpf")
    }

    /// The prefix that namespaces and cgroups of this cluster carry.
    pub fn prefix(&self) -> String {
        format!("naru-{}", self.cluster)
    }

    /// Name of a namespace: `fabric`, `control1`, `node1`, `outside`.
    pub fn namespace(&self, role: &str) -> String {
        format!("{}-{role}", self.prefix())
    }

    /// File that holds a namespace open.
    pub fn netns(&self, role: &str) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(role))
    }
}

/// Name of node `k`, counted from 1.
pub fn node_name(k: u8) -> String {
    format!("node{k}")
}

/// The directory into which cargo builds this checkout.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}

/// The root of this checkout.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

const RESERVED: [&str; 7] = ["release", "debug", "bpf", "images", "tools", "doc", "bench"];

fn fit(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    starts
        && name.len() <= 12
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_cluster() {
        let layout = Layout::new("dev", Path::new("/t")).unwrap();
        assert_eq!(
            layout.netns("node1"),
            Path::new("/run/netns/naru-dev-node1")
        );
        assert_eq!(
            layout.log("naru-node@node1"),
            Path::new("/t/dev/logs/naru-node@node1.log")
        );
    }

    #[test]
    fn names_that_would_hit_other_directories_are_refused() {
        for bad in ["", "release", "../x", "Dev", "1a", "averyveryverylongname"] {
            assert!(Layout::new(bad, Path::new("/t")).is_err(), "{bad:?}");
        }
    }
}
