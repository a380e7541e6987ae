//! Mounts below a pod's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a tmpfs of at most `size` bytes (half the memory when `None`) unless one is there.
///
/// # Errors
/// Whatever mount(2) answers.
pub fn tmpfs(directory: &Path, size: Option<i64>, mode: u32) -> io::Result<()> {
    if mounts_below(directory)?
        .iter()
        .any(|path| path == directory)
    {
        return Ok(());
    }
    let size = size
        .map(|bytes| format!(",size={bytes}"))
        .unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )?;
    Ok(())
}

/// Unmounts everything at or below `directory`, deepest first.
///
/// # Errors
/// Whatever umount(2) answers.
pub fn release(directory: &Path) -> io::Result<()> {
    for path in mounts_below(directory)?.into_iter().rev() {
        umount2(&path, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Mount points at or below `directory`, in the order of mounting.
fn mounts_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(parse(&table)
        .into_iter()
        .filter(|path| path.starts_with(directory))
        .collect())
}

/// Mount points of a mountinfo table (proc(5)); its octal escapes are undone.
fn parse(table: &str) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| PathBuf::from(unescape(point))).collect()
}

fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, plain)| {
        text.replace(escape, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_are_read() {
        let table = "1 2 0:3 / /a\\040b rw - tmpfs tmpfs rw\n4 5 0:6 / /c rw - proc proc rw\n";
        assert_eq!(parse(table), [PathBuf::from("/a b"), PathBuf::from("/c")]);
    }
}
