//! What can go wrong between the daemon and the kernel.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;

/// An operation on the data path failed.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The kernel is too old, or built without a feature.
    #[error("this kernel ({kernel}) lacks {}", lacking.join(", "))]
    Kernel {
        /// The kernel's version.
        kernel: String,
        /// What it lacks, each with the first version that has it.
        lacking: Vec<String>,
    },
    /// The build had no eBPF objects.
    #[error("this build has no eBPF object {0:?}: run `cargo xtask bpf`, then build again")]
    NotEmbedded(&'static str),
    /// A path could not be prepared.
    #[error("cannot {operation} {}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An object or program could not be loaded; the source has the verifier's words.
    #[error("cannot load program {program}")]
    Load {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program could not be attached.
    #[error("cannot attach {program} to {target}")]
    Attach {
        /// Which.
        program: &'static str,
        /// Link or cgroup.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map has no room.
    #[error("map {map} is full")]
    Full {
        /// Which.
        map: &'static str,
    },
    /// A map operation failed.
    #[error("cannot {operation} map {map}")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// Which.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

impl DatapathError {
    /// Wraps a failed map operation; a map without room gets its own variant.
    pub(super) fn map(map: &'static str, operation: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| match &source {
            MapError::SyscallError(error) if is_full(&error.io_error) => Self::Full { map },
            _ => Self::Map {
                operation,
                map,
                source,
            },
        }
    }

    pub(super) fn path(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path {
            operation,
            path,
            source,
        }
    }

    pub(super) fn attach<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        program: &'static str,
        target: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let target = target.into();
        move |source| Self::Attach {
            program,
            target,
            source: source.into(),
        }
    }
}

/// bpf(2): E2BIG for hash maps, ENOSPC for tries.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::E2BIG | nix::libc::ENOSPC)
    )
}
