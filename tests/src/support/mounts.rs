//! Mounts below a cluster's directory: the bpffs, containerd's overlays, pods' namespaces and volumes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a bpffs at `dir` unless one is there.
///
/// # Errors
/// When the kernel refuses, usually for want of root.
pub fn bpffs(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    if below(dir)?.iter().any(|m| m == dir) {
        return Ok(());
    }
    mount(
        Some("bpffs"),
        dir,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| format!("bpffs at {}", dir.display()))
}

/// Every mount point at or below `root`, in the order of mounting.
///
/// # Errors
/// When `/proc/self/mountinfo` can't be read.
pub fn below(root: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    Ok(points(&text).filter(|p| p.starts_with(root)).collect())
}

/// Unmounts everything at or below `root`, the newest first.
///
/// # Errors
/// When a mount can't be taken away.
pub fn unmount_below(root: &Path) -> Result<()> {
    for point in below(root)?.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH)
            .with_context(|| format!("umount {}", point.display()))?;
    }
    Ok(())
}

fn points(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|p| PathBuf::from(unescape(p)))
}

/// The kernel writes blank, tab, newline and backslash as three octal digits (proc(5)).
fn unescape(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_the_fifth_field() {
        let text = "36 35 98:0 /m1 /mnt\\0402 rw,noatime - ext3 /dev/root rw\n";
        assert_eq!(points(text).collect::<Vec<_>>(), [Path::new("/mnt 2")]);
    }
}
