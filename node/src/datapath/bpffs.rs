//! A directory on a bpffs, mounted when it is not there yet.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};

use super::error::DatapathError;

/// `BPF_FS_MAGIC` of linux/magic.h.
const MAGIC: FsType = FsType(0xcafe_4a11);
/// Where systemd mounts a bpffs; sysfs allows no other directory there.
const USUAL: &str = "/sys/fs/bpf";

/// Sees to it that `root` is on a bpffs and that the directories exist.
///
/// # Errors
/// When a directory cannot be made or the file system not be mounted.
pub(super) fn prepare(root: &Path, dirs: &[&Path]) -> Result<(), DatapathError> {
    if root.starts_with(USUAL) {
        ensure_mounted(Path::new(USUAL))?;
        create(root)?;
    } else {
        create(root)?;
        ensure_mounted(root)?;
    }
    dirs.iter().try_for_each(|dir| create(dir))
}

fn create(dir: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(dir).map_err(DatapathError::path("create", dir))
}

fn ensure_mounted(dir: &Path) -> Result<(), DatapathError> {
    let there = statfs(dir).map_err(|errno| DatapathError::path("examine", dir)(errno.into()))?;
    if there.filesystem_type() == MAGIC {
        return Ok(());
    }
    tracing::info!(dir = %dir.display(), "mounting a bpffs");
    mount(
        Some("bpf"),
        dir,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .map_err(|errno| DatapathError::path("mount a bpffs at", dir)(errno.into()))
}
