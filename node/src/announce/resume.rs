//! What this node led, kept over a restart of the daemon so that a quick one moves no address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("announced.json")
}

/// Addresses with their terms; none if there is no readable file, which costs a move at worst.
pub(super) fn load(run_dir: &Path) -> BTreeMap<IpAddr, u32> {
    let text = std::fs::read(path(run_dir)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Replaces the file in one step.
pub(super) fn save(run_dir: &Path, leads: &BTreeMap<IpAddr, u32>) {
    let (path, aside) = (path(run_dir), run_dir.join("announced.json.new"));
    let text = serde_json::to_vec(leads).unwrap_or_default();
    let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(aside, path));
    if let Err(error) = written {
        tracing::warn!(%error, "what this node announces is not remembered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_led_is_remembered_and_a_broken_file_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(load(dir.path()).is_empty());
        let leads = BTreeMap::from([(IpAddr::from([192, 0, 2, 1]), 7)]);
        save(dir.path(), &leads);
        assert_eq!(load(dir.path()), leads);
        std::fs::write(path(dir.path()), "{").expect("written");
        assert!(load(dir.path()).is_empty());
    }
}
