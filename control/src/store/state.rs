//! What readers see: one persistent map and one log per resource behind a short lock.

use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::log::{Event, EventType, Log};
use super::object::Object;
use super::objects::Objects;
use super::{Resource, ResourceDef};

/// A resource at one revision.
#[derive(Clone)]
pub struct Snapshot {
    /// The newest revision that the snapshot shows.
    pub revision: u64,
    /// The objects.
    pub objects: Objects,
}

impl Snapshot {
    /// Objects of a namespace, or of all, whose key comes after `after`, in key order.
    pub fn range<'a>(
        &'a self,
        namespace: Option<&str>,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a Object)> + use<'a> {
        let prefix = namespace.map(|namespace| format!("{namespace}/"));
        let start = match (after, prefix.as_deref()) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(prefix)) => Bound::Included(prefix),
            (None, None) => Bound::Unbounded,
        };
        self.objects.from(start).take_while(move |(key, _)| {
            prefix
                .as_deref()
                .is_none_or(|prefix| key.starts_with(prefix))
        })
    }
}

/// One resource: its objects, its recent events, and the bell that wakes watchers.
pub(super) struct KindState {
    pub(super) def: ResourceDef,
    /// Under which rows are kept.
    pub(super) name: Arc<str>,
    pub(super) objects: Objects,
    pub(super) log: Log,
    pub(super) wake: watch::Sender<u64>,
}

pub(super) struct State {
    pub(super) revision: u64,
    pub(super) kinds: Vec<KindState>,
}

impl State {
    pub(super) fn snapshot(&self, resource: Resource) -> Snapshot {
        Snapshot {
            revision: self.revision,
            objects: self.kinds[resource.0].objects.clone(),
        }
    }

    /// Shows one committed change.
    pub(super) fn apply(&mut self, resource: Resource, event: Event) {
        let kind = &mut self.kinds[resource.0];
        if event.event == EventType::Deleted {
            kind.objects.remove(event.object.key());
        } else {
            kind.objects.insert(event.object.clone());
        }
        kind.log.push(event);
    }
}

/// The state behind its lock.
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: RwLock::new(state),
        }
    }
}
