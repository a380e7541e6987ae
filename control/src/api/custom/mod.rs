//! Custom kinds: from the definitions that are stored to the kinds that are served.
//!
//! One task ([`run`]) follows the definitions. Each round reads all of them, plans who may have which
//! names ([`plan`]), serves what is accepted, ends what is deleted, and writes what it found into
//! their status. Requests find the kinds in [`CustomKinds`], which is swapped as a whole.

mod cleanup;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::admission::Request;
use super::convert::Converter;
use super::kinds::Target;
use super::managed::{Trace, Writer};
use super::server::Server;
use super::value::{is_deleting, name, text};
use super::write::Part;
use crate::registry::custom::kinds_of;
use crate::registry::kind::Kind;
use crate::store::ResourceDef;
use plan::Verdict;

/// The kinds that are served beside those of the API.
#[derive(Default)]
pub(super) struct CustomKinds(Vec<Served>);

/// The kinds of one definition.
#[derive(Clone)]
struct Served {
    definition: String,
    targets: Vec<Target>,
    converter: Option<Arc<Converter>>,
}

/// Kinds that were made from definitions, by the state of the definition, so that none is made twice.
#[derive(Default)]
pub(super) struct Made(Mutex<HashMap<String, (String, Served)>>);

impl CustomKinds {
    /// The kind of a path.
    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Target> {
        let is_it =
            |kind: &Kind| (kind.group, kind.version, kind.plural) == (group, version, plural);
        self.targets().find(|target| is_it(target.kind))
    }

    /// The webhook that converts the objects of a kind.
    pub(super) fn converter(&self, group: &str, plural: &str) -> Option<Arc<Converter>> {
        let is_it = |served: &&Served| {
            let target = served.targets.first();
            target.is_some_and(|it| (it.kind.group, it.kind.plural) == (group, plural))
        };
        self.0.iter().find(is_it)?.converter.clone()
    }

    /// Every served kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        self.targets().map(|target| target.kind)
    }

    fn targets(&self) -> impl Iterator<Item = Target> {
        self.0
            .iter()
            .flat_map(|served| served.targets.iter().copied())
    }

    /// The stored definition behind each served kind.
    pub(super) fn definitions(&self) -> impl Iterator<Item = (&'static Kind, &str)> {
        let served = self.0.iter();
        served.flat_map(|it| {
            it.targets
                .iter()
                .map(|target| (target.kind, it.definition.as_str()))
        })
    }
}

/// Follows the definitions until `stopping`.
pub async fn run(server: Arc<Server>, stopping: CancellationToken) {
    let Some(definitions) = definitions(&server) else {
        return;
    };
    let (_, mut changes) = server.store.snapshot_and_watch(definitions.resource);
    let rounds = async {
        loop {
            // What has happened until now is in this round, and what happens during it, such as the
            // end of a definition, in the next.
            while changes.poll().is_ok_and(|(events, _)| !events.is_empty()) {}
            let again = sync(&server).await;
            let wait = again.unwrap_or(std::time::Duration::from_secs(30));
            let _ = tokio::time::timeout(wait, changes.changed()).await;
        }
    };
    stopping.run_until_cancelled(rounds).await;
}

fn definitions(server: &Server) -> Option<Target> {
    server
        .kinds
        .of("apiextensions.k8s.io", "customresourcedefinitions")
}

/// One round; answers when the next is due if nothing happens before.
pub(super) async fn sync(server: &Server) -> Option<std::time::Duration> {
    let target = definitions(server)?;
    let all = server.store.snapshot(target.resource).objects;
    let all: Vec<Value> = all.iter().map(|(_, object)| object.value()).collect();
    let verdicts = plan::plan(&all, server.kinds);
    let mut served = Vec::new();
    for (definition, verdict) in all.iter().zip(&verdicts) {
        if verdict.established {
            served.push(make(server, definition).await);
        }
    }
    publish(server, served);
    let mut unfinished = false;
    for (definition, verdict) in all.iter().zip(&verdicts) {
        report(server, target, definition, verdict).await;
        if is_deleting(definition) {
            unfinished |= !cleanup::finish(server, target, definition).await;
        }
    }
    unfinished.then_some(std::time::Duration::from_secs(1))
}

/// The kinds of a definition, made once for each state of it.
async fn make(server: &Server, definition: &Value) -> Served {
    let state = format!(
        "{}/{}/{}",
        text(definition, "/metadata/uid"),
        definition["metadata"]["generation"],
        definition["status"]["storedVersions"]
    );
    let key = name(definition).to_owned();
    if let Some((made, served)) = server.made.0.lock().get(&key)
        && *made == state
    {
        return served.clone();
    }
    let mut targets = Vec::new();
    let kinds = kinds_of(definition);
    let kept = kinds
        .first()
        .map(|kind| kind.stored_as.map_or(*kind, |other| other.kind));
    if let Some(kept) = kept {
        let def = ResourceDef {
            group: kept.group,
            plural: kept.plural,
            fields: &[],
            paths: kept.paths,
        };
        match server.store.add(def).await {
            Ok(resource) => {
                targets.extend(kinds.into_iter().map(|kind| Target { kind, resource }));
            }
            Err(error) => tracing::error!(definition = key, %error, "a custom kind is not served"),
        }
    }
    let served = Served {
        definition: key.clone(),
        targets,
        converter: Converter::of(definition).map(Arc::new),
    };
    let made = (state, served.clone());
    server.made.0.lock().insert(key, made);
    served
}

/// Serves these kinds from now on.
fn publish(server: &Server, served: Vec<Served>) {
    let address = |kinds: &CustomKinds| -> Vec<*const Kind> {
        kinds.kinds().map(std::ptr::from_ref).collect()
    };
    let custom = CustomKinds(served);
    if address(&custom) == address(&server.custom.load()) {
        return;
    }
    tracing::info!(kinds = custom.0.len(), "custom kinds are served");
    server.custom.store(Arc::new(custom));
    server.rediscover();
    server.republished.notify_one();
}

/// Writes the verdict into the definition's status where it is news.
async fn report(server: &Server, target: Target, definition: &Value, verdict: &Verdict) {
    let now = super::value::timestamp(jiff::Timestamp::now());
    let status = verdict.status(definition, &now);
    if definition.get("status") == Some(&status) {
        return;
    }
    let writer = Writer::of(Some("naru-control"), None, "", Part::Status);
    let candidate = |old: &Value| {
        let mut new = old.clone();
        new["status"] = verdict.status(old, &now);
        Ok(new)
    };
    let (trace, own) = (Trace::Update(&writer), Request::own(target));
    let key = name(definition);
    let written = server
        .modify(target, key, Part::Status, &own, trace, &candidate)
        .await;
    if let Err(status) = written
        && status.code != 404
    {
        tracing::warn!(
            definition = key,
            why = status.message,
            "the status is not written"
        );
    }
}

/// The schema of a version as its writer wrote it, for those who read it.
pub(super) fn written_schema(server: &Server, definition: &str, version: &str) -> Option<Value> {
    let target = definitions(server)?;
    let definition = server.store.get(target.resource, definition)?.value();
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let found = versions.iter().find(|it| text(it, "/name") == version)?;
    Some(
        found
            .pointer("/schema/openAPIV3Schema")
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"})),
    )
}
