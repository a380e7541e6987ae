//! The process of a sandbox: holds the pod's namespaces open until it is told to end.

use crate::signal::Termination;

/// Waits for SIGTERM.
pub(crate) fn run() -> Result<(), String> {
    Termination::hold().wait();
    Ok(())
}
