//! The process of a sandbox: holds the pod's namespaces open until it is told to end.

use std::thread;

/// Waits for ever. As the first process of its namespace it is sent SIGKILL by the runtime when the
/// sandbox goes; the kernel does not deliver a SIGTERM without a handler to a first process.
pub(crate) fn run() -> Result<(), String> {
    loop {
        thread::park();
    }
}
