//! Replaces the files of a volume in one step, so that a reader sees all old or all new ones.
//!
//! Files live in a directory with a fresh name; the link `..data` points to it and is replaced by
//! a rename; every top-level name is a link through `..data`. This is the layout that programs
//! which watch mounted configuration have come to expect.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use jiff::Timestamp;

use super::payload::Payload;

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes the volume hold exactly `payload`; returns whether anything had to change.
///
/// # Errors
/// Whatever the file system answers; the old files stay visible.
pub fn write(volume: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    if is_current(volume, payload) {
        return Ok(false);
    }
    let name = fresh_name();
    let directory = volume.join(&name);
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    write_files(&directory, payload, group)?;
    let old = fs::read_link(volume.join(DATA)).ok();
    let _ = fs::remove_file(volume.join(NEXT));
    symlink(&name, volume.join(NEXT))?;
    fs::rename(volume.join(NEXT), volume.join(DATA))?;
    link_names(volume, payload)?;
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old))?;
    }
    Ok(true)
}

fn fresh_name() -> String {
    format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%f"))
}

fn write_files(directory: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    for (path, file) in payload {
        let target = directory.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.bytes)?;
        // A group that may read is told by the mode; the owner stays root.
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
        if group.is_some() {
            std::os::unix::fs::chown(&target, None, group)?;
        }
    }
    Ok(())
}

fn top_level(payload: &Payload) -> BTreeSet<&str> {
    payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect()
}

fn link_names(volume: &Path, payload: &Payload) -> io::Result<()> {
    let wanted = top_level(payload);
    for entry in fs::read_dir(volume)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with("..") && !wanted.contains(text.as_ref()) {
            fs::remove_file(volume.join(&name))?;
        }
    }
    for name in wanted {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    Ok(())
}

fn is_current(volume: &Path, payload: &Payload) -> bool {
    let data = volume.join(DATA);
    if !data.exists() || count_files(&data) != payload.len() {
        return false;
    }
    payload.iter().all(|(path, file)| {
        let target = data.join(path);
        let mode = fs::metadata(&target).map(|meta| meta.mode() & 0o777);
        mode.is_ok_and(|mode| mode == file.mode)
            && fs::read(&target).is_ok_and(|bytes| bytes == file.bytes)
    })
}

fn count_files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => count_files(&entry.path()),
        _ => 1,
    };
    entries.flatten().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(entries: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File {
            bytes: text.as_bytes().to_vec(),
            mode: 0o640,
        };
        entries
            .iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("pt-{name}-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn files_are_swapped_and_old_names_go() {
        let dir = scratch("atomic");
        assert!(write(&dir, &payload(&[("a", "1"), ("x/y", "2")]), None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("x/y")).unwrap(), "2");
        let first = fs::read_link(dir.join(DATA)).unwrap();
        assert!(write(&dir, &payload(&[("a", "3")]), None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("x").exists() && !dir.join(first).exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_same_files_are_left_alone() {
        let dir = scratch("same");
        let files = payload(&[("a", "1")]);
        assert!(write(&dir, &files, None).unwrap());
        let data = fs::read_link(dir.join(DATA)).unwrap();
        assert!(!write(&dir, &files, None).unwrap());
        assert_eq!(fs::read_link(dir.join(DATA)).unwrap(), data);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_empty_payload_empties_the_volume() {
        let dir = scratch("empty");
        write(&dir, &payload(&[("a", "1")]), None).unwrap();
        assert!(write(&dir, &Payload::new(), None).unwrap());
        assert!(!dir.join("a").exists() && dir.join(DATA).exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
