//! How many files, and so connections, the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes as many as the system lets the process have. Shells and service managers hand down 1024, for
/// programs that still use `select`; a server has a connection for every node and client.
pub(super) fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        Ok(most)
    });
    match raised {
        Ok(files) => tracing::debug!(files, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}
