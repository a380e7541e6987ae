//! What a pod's worker remembers between two plans, beyond what the runtime knows.
//!
//! All of it may be lost: a daemon that starts anew plans the same from the runtime's state, only
//! with fresh back-offs and probes that have yet to speak.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::backoff::Backoff;
use super::plan::Action;

/// The worker's memory of one pod.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Volumes and the pod's directory.
    pub volumes: Volumes,
    /// Delays after failures of the pod as a whole, by action.
    pub retries: BTreeMap<&'static str, Retry>,
    /// Per container of the spec.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// Results of probes, by container id.
    pub probes: BTreeMap<String, ProbeResults>,
    /// What its containers want, were given and have.
    pub resize: super::resize::Memory,
    /// Actions that are under way.
    pub running: BTreeSet<Action>,
}

/// Progress of the pod's volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Not made yet, or something they are made of has changed.
    #[default]
    Stale,
    /// Present, and filled with what the API said last.
    Ready,
    /// Present, but to be filled anew; containers needn't wait.
    Refresh,
}

/// When a failed action may be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The delays.
    pub backoff: Backoff,
    /// The last failure, until a success.
    pub failed_at: Option<Timestamp>,
    /// What went wrong.
    pub message: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            backoff: Backoff::quick(),
            failed_at: None,
            message: String::new(),
        }
    }
}

impl Retry {
    /// Notes a failure.
    pub fn fail(&mut self, now: Timestamp, message: String) {
        self.backoff.attempt(now);
        self.failed_at = Some(now);
        self.message = message;
    }

    /// Until when to wait; `None` when an attempt is due.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.backoff.until(self.failed_at?, now)
    }
}

/// The worker's memory of one container of the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerMemory {
    /// Delay between crashes.
    pub crash: Backoff,
    /// Why the last attempt to start failed before a process ran.
    pub failure: Option<StartFailure>,
    /// Delay between failed starts.
    pub retry: Backoff,
}

/// A start that failed before a process ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// `ErrImagePull`, `CreateContainerConfigError`…
    pub reason: &'static str,
    /// What went wrong, in one sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What the probes of one container have found so far; `None` before the first verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProbeResults {
    /// Start-up: finished starting.
    pub startup: Option<bool>,
    /// Readiness: takes traffic.
    pub readiness: Option<bool>,
    /// Liveness: `Some(false)` asks for a restart.
    pub liveness: Option<bool>,
}

impl Memory {
    /// An object that the pod refers to has changed: what failed for want of it may be tried at
    /// once.
    pub fn sources_changed(&mut self) {
        self.retries.remove("PrepareVolumes");
        for container in self.containers.values_mut() {
            let failure = container.failure.as_ref().map(|failure| failure.reason);
            if failure == Some("CreateContainerConfigError") {
                container.retry = Backoff::default();
            }
        }
    }

    /// The memory of a container, made at first use.
    pub fn container(&mut self, name: &str) -> &mut ContainerMemory {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// Whether a start of this container is under way.
    pub fn is_starting(&self, name: &str) -> bool {
        self.running
            .iter()
            .any(|action| matches!(action, Action::Start { container, .. } if container == name))
    }

    /// Whether any start is under way.
    pub fn is_any_starting(&self) -> bool {
        self.running
            .iter()
            .any(|action| matches!(action, Action::Start { .. }))
    }

    /// Whether the sandbox is being made.
    pub fn is_creating_sandbox(&self) -> bool {
        self.running
            .iter()
            .any(|action| matches!(action, Action::CreateSandbox { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_about_objects_ends_only_the_waits_for_them() {
        let mut memory = Memory::default();
        let now = Timestamp::UNIX_EPOCH;
        for (name, reason) in [("a", "CreateContainerConfigError"), ("b", "ErrImagePull")] {
            let container = memory.container(name);
            container.retry.attempt(now);
            container.failure = Some(StartFailure {
                reason,
                message: String::new(),
                at: now,
            });
        }
        memory.sources_changed();
        let waits = |name| crate::pods::plan::start_wait(&memory, name, now).is_some();
        assert_eq!((waits("a"), waits("b")), (false, true));
    }
}
