//! The policy, and the places to which it sends events: a file, a server, or both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::Limits;
use super::log;
use super::policy::{Policy, PolicyError};
use super::queue::Queue;
use super::webhook::{self, Webhook};

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy is none.
    #[error("audit policy {path}")]
    Policy {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// The log cannot be opened.
    #[error("audit log {path}")]
    Log {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The webhook's kubeconfig leads nowhere.
    #[error("audit webhook {path}")]
    Webhook {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
}

/// A log file for events.
#[derive(Debug, Clone)]
pub struct LogFile {
    /// Where it is; `-` for standard output.
    pub path: PathBuf,
    /// When it is turned over and what is kept.
    pub limits: Limits,
    /// Whether requests wait for their events.
    pub blocking: bool,
}

/// A policy and the places to which it sends events.
pub struct Audit {
    pub(super) policy: Policy,
    pub(super) places: Vec<Place>,
}

/// Where events go to.
pub(super) struct Place {
    pub(super) queue: Arc<Queue>,
    /// Whether requests wait for their events.
    pub(super) blocking: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Audit {
    /// Reads the policy and opens the places.
    ///
    /// # Errors
    /// See [`AuditError`]. A place that fails later is no error: the server goes on.
    pub fn open(
        policy: &Path,
        log: Option<&LogFile>,
        webhook: Option<&Webhook>,
    ) -> std::result::Result<Self, AuditError> {
        let read = Policy::read(policy).map_err(|source| AuditError::Policy {
            path: policy.display().to_string(),
            source,
        })?;
        let mut places = Vec::new();
        if let Some(LogFile { path, limits, .. }) = log {
            let queue = log::open(path, *limits).map_err(|source| AuditError::Log {
                path: path.display().to_string(),
                source,
            });
            let blocking = log.is_some_and(|log| log.blocking);
            places.push(Place {
                queue: queue?,
                blocking,
            });
        }
        if let Some(webhook) = webhook {
            let queue = webhook::open(webhook).map_err(|source| AuditError::Webhook {
                path: webhook.kubeconfig.display().to_string(),
                source,
            });
            let blocking = webhook.blocking;
            places.push(Place {
                queue: queue?,
                blocking,
            });
        }
        Ok(Self {
            policy: read,
            places,
        })
    }
}
