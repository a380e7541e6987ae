//! The way back: ends what is recorded, then sweeps what carries the cluster's name.
//!
//! Order matters: processes first, so that nothing makes new mounts or links; mounts before the
//! directories under them; namespaces last, as their links go with them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::cgroup::CgroupTree;
use super::containerd::Containerd;
use super::layout::Layout;
use super::ledger::Ledger;
use super::{mounts, network};

/// Ends the cluster and removes its state; the logs stay for reading.
///
/// Also right after a half-failed start, with daemons killed, or with nothing there at all.
///
/// # Errors
/// When something withstands; what was reached is gone all the same.
pub fn down(layout: &Layout) -> Result<()> {
    let cgroups = CgroupTree::find(&layout.prefix())?;
    end_recorded(layout);
    cgroups.kill()?;
    remove_shim_sockets(layout);
    mounts::unmount_below(&layout.root())?;
    cgroups.remove()?;
    network::remove(layout)?;
    remove_state(layout)
}

/// Fails when a cluster of this name runs that this checkout has no record of.
///
/// # Errors
/// Names and cgroups are the machine's: ending by name would end another checkout's cluster.
pub fn ensure_ours(layout: &Layout) -> Result<()> {
    let known = layout.ledger().exists();
    ensure!(
        known || network::present(layout)?.is_empty(),
        "a cluster called {:?} runs, but {} does not know it: another checkout started it (choose a \
         name with --cluster), or its record was deleted (`cargo xtask down --force` ends it)",
        layout.cluster,
        layout.root().display()
    );
    Ok(())
}

/// The front door stands in a cgroup of the cluster like all others, but the record may be all
/// that is left of one whose cgroup could not be joined.
fn end_recorded(layout: &Layout) {
    // An unreadable record must not keep the sweep from its work.
    let Ok(Some(ledger)) = Ledger::load(&layout.ledger()) else {
        return;
    };
    for process in ledger.processes.iter().rev() {
        process.signal(Signal::SIGKILL);
    }
}

fn remove_shim_sockets(layout: &Layout) {
    for name in names_in(&layout.root()) {
        for socket in Containerd::of(layout, &name).shim_sockets() {
            fs::remove_file(socket).ok();
        }
    }
}

fn remove_state(layout: &Layout) -> Result<()> {
    let root = layout.root();
    for name in names_in(&root).into_iter().filter(|n| n != "logs") {
        let path = root.join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}
