//! The end of a definition: its objects go first.

use serde_json::Value;

use super::Served;
use crate::api::admission::Request;
use crate::api::kinds::Target;
use crate::api::managed::{Trace, Writer};
use crate::api::meta::set_finalizer;
use crate::api::options::DeleteOptions;
use crate::api::server::Server;
use crate::api::value::{finalizers, name};
use crate::api::verbs::delete_one;
use crate::api::write::Part;
use crate::registry::CLEANUP;

/// Deletes the objects of a definition; whether none is left and the definition may go.
pub(super) async fn finish(server: &Server, target: Target, definition: &Value) -> bool {
    let custom = server.custom.load();
    let served = custom
        .0
        .iter()
        .find(|served| served.definition == name(definition));
    if let Some(objects) = served.and_then(Served::stored) {
        let there = server.store.snapshot(objects.resource).objects;
        for key in there.keys() {
            let (options, own) = (DeleteOptions::default(), Request::own(objects));
            if let Err(status) = delete_one(server, objects, key, &options, &own).await
                && status.code != 404
            {
                tracing::warn!(
                    key,
                    why = status.message,
                    "an object of a deleted kind stays"
                );
            }
        }
        if !server.store.snapshot(objects.resource).objects.is_empty() {
            return false;
        }
    }
    if !finalizers(definition).contains(&CLEANUP) {
        return true;
    }
    let writer = Writer::of(Some("naru-control"), None, "", Part::Whole);
    let candidate = |old: &Value| {
        let mut new = old.clone();
        set_finalizer(&mut new, CLEANUP, false);
        Ok(new)
    };
    let (key, trace) = (name(definition), Trace::Update(&writer));
    let own = Request::own(target);
    let freed = server
        .modify(target, key, Part::Raw, &own, trace, &candidate)
        .await;
    freed.is_ok_and(|_| true)
}

impl Served {
    /// The kind under which the objects are kept.
    fn stored(&self) -> Option<Target> {
        self.targets.first().map(Target::stored)
    }
}
