//! Feeds memory: the one watch of etcd, from what was loaded on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use naru_etcd::Changes;
use naru_etcd::v3::event::EventType as Happened;
use naru_etcd::v3::{self, WatchCreateRequest};
use tokio::sync::{mpsc, oneshot};

use super::arrivals::Arrivals;
use super::compaction::Compaction;
use super::load::Loader;
use super::{failed, revision, to_etcd};
use crate::store::backend::BackendError;
use crate::store::log::{Event, EventType};
use crate::store::object::Object;
use crate::store::state::Shared;
use crate::store::{Resource, ResourceDef};

/// Between a watch that broke and the next one: shorter than anybody's patience.
const PAUSE: Duration = Duration::from_millis(200);

/// One more resource that is to be kept.
pub(super) struct Addition {
    pub(super) def: ResourceDef,
    pub(super) reply: oneshot::Sender<Result<Resource, BackendError>>,
}

/// Why a watch is not followed any longer, without anything being wrong.
enum Ended {
    /// The store is closed.
    Closed,
    /// Memory was loaded again and is to be fed from there.
    Again,
}

pub(super) struct Follower {
    loader: Loader,
    shared: Arc<Shared>,
    arrivals: Arc<Arrivals>,
    compaction: Compaction,
    /// What memory shows.
    revision: u64,
    /// Whether it has been told that etcd is not followed.
    told: bool,
    /// The places of resources by the names under which they are stored.
    places: HashMap<Arc<str>, usize>,
}

impl Follower {
    pub(super) fn new(
        loader: Loader,
        shared: Arc<Shared>,
        arrivals: Arc<Arrivals>,
        revision: u64,
    ) -> Self {
        let mut follower = Self {
            compaction: Compaction::new(loader.etcd.clone()),
            loader,
            shared,
            arrivals,
            revision,
            told: false,
            places: HashMap::new(),
        };
        follower.find_places();
        follower
    }

    /// Follows until every handle of the store is gone.
    pub(super) async fn run(mut self, mut additions: mpsc::UnboundedReceiver<Addition>) {
        loop {
            match self.follow(&mut additions).await {
                Ok(Ended::Closed) => return,
                Ok(Ended::Again) => continue,
                Err(error) if self.told => tracing::debug!(%error, "etcd is still not followed"),
                Err(error) => tracing::warn!(%error, "etcd is not followed; trying again"),
            }
            self.told = true;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Follows by one watch.
    async fn follow(
        &mut self,
        additions: &mut mpsc::UnboundedReceiver<Addition>,
    ) -> Result<Ended, BackendError> {
        let everything = WatchCreateRequest {
            key: b"\0".to_vec().into(),
            range_end: b"\0".to_vec().into(),
            start_revision: to_etcd(self.revision + 1),
            fragment: true,
        };
        let mut watch = self.loader.etcd.watch(everything).await.map_err(failed)?;
        loop {
            tokio::select! {
                changes = watch.next() => match changes.map_err(failed)? {
                    Changes::Events(events) => self.show(&events),
                    Changes::Compacted(oldest) => {
                        tracing::warn!(oldest, shown = self.revision, "too far behind etcd");
                        return self.load_again().await;
                    }
                },
                addition = additions.recv() => match addition {
                    None => return Ok(Ended::Closed),
                    Some(Addition { def, reply }) => drop(reply.send(self.add(def).await)),
                },
                () = self.compaction.due() => self.compaction.start(self.revision),
            }
        }
    }

    /// Shows events to readers, in one step.
    fn show(&mut self, events: &[v3::Event]) {
        let last = events.iter().filter_map(|event| event.kv.as_ref()).last();
        let Some(last) = last.map(|row| revision(row.mod_revision)) else {
            return;
        };
        let mut touched = BTreeSet::new();
        let mut state = self.shared.state.write();
        for event in events {
            let Some((place, key, row)) = self.place(event) else {
                continue;
            };
            let kind = &state.kinds[place];
            let before = kind.objects.get(key).cloned();
            match self.event((&kind.name, &kind.def), key, (event, row), before) {
                Ok(Some(event)) => {
                    touched.insert(place);
                    state.apply(Resource(place), event);
                }
                Ok(None) => {}
                // Somebody wrote what this server cannot read. The others go on.
                Err(error) => tracing::error!(%error, "a change in etcd is passed over"),
            }
        }
        state.revision = last;
        for place in touched {
            state.kinds[place].wake.send_replace(last);
        }
        drop(state);
        self.revision = last;
        self.arrivals.shown(last);
        if std::mem::take(&mut self.told) {
            tracing::info!(revision = last, "etcd is followed again");
        }
    }

    /// Which object of which resource an event is about.
    fn place<'a>(&self, event: &'a v3::Event) -> Option<(usize, &'a str, &'a v3::KeyValue)> {
        let row = event.kv.as_ref()?;
        let (resource, key) = self.loader.keys.parse(&row.key)?;
        Some((*self.places.get(resource)?, key, row))
    }

    /// The event as readers see it; none if it changes nothing for them.
    fn event(
        &self,
        (name, def): (&str, &ResourceDef),
        key: &str,
        (event, row): (&v3::Event, &v3::KeyValue),
        before: Option<Object>,
    ) -> Result<Option<Event>, BackendError> {
        let at = revision(row.mod_revision);
        let (happened, object) = match (event.r#type(), &before) {
            (Happened::Delete, None) => return Ok(None),
            (Happened::Delete, Some(before)) => (EventType::Deleted, before.last(at)),
            (Happened::Put, _) => {
                let happened = match &before {
                    None => EventType::Added,
                    Some(_) => EventType::Modified,
                };
                let place = (name, key);
                let loaded = self
                    .loader
                    .object(def, place, row, happened, before.as_ref());
                (happened, loaded?)
            }
        };
        Ok(Some(Event {
            event: happened,
            object,
            before: before.map(|before| before.selectable.clone()),
        }))
    }

    /// Takes up one more resource, or reads one that is there by another definition.
    async fn add(&mut self, def: ResourceDef) -> Result<Resource, BackendError> {
        let kind = self.loader.kind(def, self.revision).await?;
        let mut state = self.shared.state.write();
        if let Some(place) = self.places.get(&kind.name) {
            state.kinds[*place].def = kind.def;
            state.kinds[*place].objects = kind.objects;
            return Ok(Resource(*place));
        }
        state.kinds.push(kind);
        let place = state.kinds.len() - 1;
        drop(state);
        self.find_places();
        Ok(Resource(place))
    }

    /// Begins anew from what etcd has now. Watchers cannot be told what happened meanwhile: they are
    /// told to list again.
    async fn load_again(&mut self) -> Result<Ended, BackendError> {
        let at = self.loader.revision().await?;
        let defs: Vec<_> = {
            let state = self.shared.state.read();
            state.kinds.iter().map(|kind| kind.def).collect()
        };
        let loaded = self.loader.kinds(&defs, at).await?;
        let mut state = self.shared.state.write();
        for (kind, loaded) in state.kinds.iter_mut().zip(loaded) {
            kind.objects = loaded.objects;
            kind.log.expire(at);
            kind.wake.send_replace(at);
        }
        state.revision = at;
        drop(state);
        self.revision = at;
        self.arrivals.shown(at);
        Ok(Ended::Again)
    }

    fn find_places(&mut self) {
        let state = self.shared.state.read();
        let kinds = state.kinds.iter().enumerate();
        self.places = kinds
            .map(|(place, kind)| (kind.name.clone(), place))
            .collect();
    }
}
