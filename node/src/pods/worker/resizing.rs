//! The worker's part in resizing: it asks for what the spec wants, and knows what its containers have.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Worker;
use crate::pods::events::Severity::{Normal, Warning};
use crate::pods::memory::StartFailure;
use crate::pods::plan::{Action, Lifecycle, StopReason};
use crate::pods::resize::ledger::{Needs, Refusal};
use crate::pods::resize::{ASK_AGAIN, given};

impl Worker {
    /// Asks for what the pod wants, if that is not what it was given.
    pub(super) fn sync_resources(&mut self) {
        if self.lifecycle != Lifecycle::Syncing {
            return;
        }
        let wanted = given::wanted(&self.pod);
        let (had, first) = match self.memory.resize.given.take() {
            Some(given) => (given, false),
            None => (given::adopted(&self.pod), true),
        };
        let has = |had: &given::Given| Needs::of(&given::granted(&self.pod, had));
        if first {
            self.ctx.ledger.note(&self.id.uid, has(&had));
        }
        let (given, refused) = if had == wanted {
            (had, None)
        } else {
            let pods = self.ctx.watches.own_pods.list();
            let asked = (has(&had), Needs::of(&self.pod));
            let node = self.ctx.allocatable;
            match self.ctx.ledger.take(&self.id.uid, asked, &pods, node) {
                Ok(()) => (wanted, None),
                Err(refusal) => (had, Some(refusal)),
            }
        };
        self.announce_refusal(refused.as_ref());
        self.memory.resize.refused = refused;
        self.memory.resize.given = Some(given);
        self.note_what_containers_have();
    }

    fn announce_refusal(&self, refused: Option<&Refusal>) {
        let told = refused.map(Refusal::told);
        let before = self.memory.resize.refused.as_ref().map(Refusal::told);
        if let Some((reason, message)) = told
            && before.is_none_or(|(known, _)| known != reason)
        {
            let event = format!("Resize{reason}");
            self.ctx.event(&self.pod, None, Warning, &event, message);
        }
    }

    /// A container has what it was started with; one that was there before this daemon, what the API
    /// was told.
    fn note_what_containers_have(&mut self) {
        let memory = &mut self.memory.resize;
        let ids: BTreeSet<_> = self.observed.containers.iter().map(|c| &c.id).collect();
        if !ids.is_empty() {
            memory.has.retain(|id, _| ids.contains(id));
            memory.ended.retain(|id| ids.contains(id));
        }
        for container in &self.observed.containers {
            if memory.has.contains_key(&container.id) {
                continue;
            }
            let started = memory.starts.get(&container.name).cloned();
            let told = || given::told(&self.pod, &container.id);
            let given = || memory.given.as_ref()?.get(&container.name).cloned();
            if let Some(has) = started.or_else(told).or_else(given) {
                memory.has.insert(container.id.clone(), has);
            }
        }
    }

    /// When what was refused for now is asked for again.
    pub(super) fn ask_again(&self, now: Timestamp) -> Option<Timestamp> {
        let deferred = matches!(self.memory.resize.refused, Some(Refusal::Deferred { .. }));
        deferred.then(|| now + ASK_AGAIN)
    }

    /// The pod as its containers are to be started and changed: asking for what it was given.
    pub(super) fn granted(&self) -> Arc<Pod> {
        match &self.memory.resize.given {
            Some(given) if *given != given::wanted(&self.pod) => {
                Arc::new(given::granted(&self.pod, given))
            }
            _ => Arc::clone(&self.pod),
        }
    }

    /// Remembers with what an action is on its way.
    pub(super) fn note_sent(&mut self, action: &Action) {
        let memory = &mut self.memory.resize;
        let given = |name: &str| memory.given.as_ref()?.get(name).cloned();
        match action {
            Action::Start { container, .. } => {
                if let Some(given) = given(container) {
                    memory.starts.insert(container.clone(), given);
                }
            }
            Action::Resize { id, container } => {
                if let Some(given) = given(container) {
                    memory.sent.insert(id.clone(), given);
                }
            }
            Action::Stop {
                id,
                reason: StopReason::Resized,
                ..
            } => drop(memory.ended.insert(id.clone())),
            _ => {}
        }
    }

    /// Remembers how a change in place ended.
    pub(super) fn note_resized(
        &mut self,
        id: &str,
        container: &str,
        result: &Result<(), StartFailure>,
    ) {
        let sent = self.memory.resize.sent.remove(id);
        match (result, sent) {
            (Ok(()), Some(sent)) => {
                self.memory.resize.failure = None;
                self.memory.resize.has.insert(id.to_owned(), sent);
                let message = format!("Resized container {container}");
                let name = Some(container);
                self.ctx
                    .event(&self.pod, name, Normal, "ResizeCompleted", message);
            }
            (Err(failure), _) => {
                let failure = failure.message.clone();
                if self.memory.resize.failure.as_ref() != Some(&failure) {
                    let name = Some(container);
                    let message = failure.clone();
                    self.ctx
                        .event(&self.pod, name, Warning, "ResizeError", message);
                }
                self.memory.resize.failure = Some(failure);
            }
            (Ok(()), None) => {}
        }
    }
}
