//! The one way into the store: default, admit, prepare, validate, allocate, commit.

use bytes::Bytes;
use serde_json::Value;

use super::admission::{self, Request};
use super::kinds::Target;
use super::managed::{self, Trace};
use super::meta;
use super::server::Server;
use super::status::{Result, Status};
use super::value::{finalizers, integer, is_deleting, items, key, name, namespace, text};
use crate::registry::kind::{FieldError, FieldErrorReason, OwnPart};
use crate::store::{Change, Object, WriteError};

/// Attempts of an update against concurrent writers.
const ATTEMPTS: usize = 32;

/// Which part of the object a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything but the status.
    Whole,
    /// The status alone.
    Status,
    /// The finalizers in a Namespace's spec.
    Finalize,
    /// The conditions in the status alone.
    Approval,
    /// What the kind says about a part of its own.
    Own(&'static OwnPart),
    /// Anything: the server itself writes.
    Raw,
}

/// What an update amounts to.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// The object is as wanted.
    Unchanged,
    /// The object changes.
    Update(Value),
    /// The last obstacle to a deletion goes, and the object with it.
    Remove(Value),
}

impl Server {
    /// Creates a stamped object and returns its JSON as it is stored.
    pub(super) async fn insert(
        &self,
        target: Target,
        mut object: Value,
        request: &Request<'_>,
        trace: Trace<'_>,
    ) -> Result<Bytes> {
        let given = managed::take(&mut object);
        target.kind.complete(&mut object);
        self.check_before_conversion(target, &object, None)?;
        let mut object = self.to_stored(target, object).await?;
        let target = target.stored();
        let kind = target.kind;
        kind.complete(&mut object);
        admission::mutate(self, request, target, &mut object, None).await?;
        (kind.prepare)(&mut object, None);
        check(target, Part::Whole, &object, None)?;
        let nothing = Value::Object(serde_json::Map::new());
        let given = given.filter(|_| !matches!(trace, Trace::Update(_)));
        let list = managed::record(target, trace, (&nothing, &object), given, None);
        managed::put(&mut object, list);
        admission::validate(self, request, target, &object, None).await?;
        let key = key(Some(namespace(&object)), name(&object));
        if request.dry {
            self.reserve(target, &mut object, None)?;
            self.fits(target, &key, &object)?;
            return Ok(object.to_string().into());
        }
        let written = self.put(target, &key, &mut object, None, None).await;
        let written = written.map_err(|failure| match failure {
            WriteFailure::Store(error) => Status::of_write(error, kind, name(&object)),
            WriteFailure::Refused(status) => status,
        })?;
        Ok(written.json())
    }

    /// Brings a stored object to what `candidate` makes of it and returns its JSON as it is stored.
    /// `candidate` sees and makes objects of `target`'s version, and runs again when another writer
    /// was faster.
    pub(super) async fn modify(
        &self,
        target: Target,
        key: &str,
        part: Part,
        request: &Request<'_>,
        trace: Trace<'_>,
        candidate: &(dyn Fn(&Value) -> Result<Value> + Sync),
    ) -> Result<Bytes> {
        let short = key.split_once('/').map_or(key, |(_, name)| name);
        for _ in 0..ATTEMPTS {
            let stored = self.store.get(target.resource, key);
            let stored = stored.ok_or_else(|| Status::not_found(target.kind, short))?;
            let old = self.kept(target, stored.value()).await?;
            let mut candidate = self.candidate(target, part, &old, candidate).await?;
            let requested = target;
            let target = target.stored();
            admission::mutate(self, request, target, &mut candidate, Some(&old)).await?;
            let mut plan = plan(target, part, &old, candidate, trace)?;
            if plan == Plan::Unchanged && !target.is_kept(&stored.json()) {
                plan = Plan::Update(old.clone());
            }
            if let Plan::Update(new) = &mut plan {
                self.settle_versions(requested, trace, &old, new).await?;
            }
            if let Plan::Update(new) | Plan::Remove(new) = &plan {
                admission::validate(self, request, target, new, Some(&old)).await?;
            }
            let carried = self.carry_out(target, key, &stored, &old, plan, request.dry);
            match carried.await {
                Err(WriteFailure::Store(WriteError::Conflict { .. })) => {}
                Err(WriteFailure::Store(error)) => {
                    return Err(Status::of_write(error, target.kind, short));
                }
                Err(WriteFailure::Refused(status)) => return Err(status),
                Ok(json) => return Ok(json),
            }
        }
        Err(Status::stale(target.kind, short))
    }

    /// What `candidate` makes of a stored object in `target`'s version, as it is to be stored.
    async fn candidate(
        &self,
        target: Target,
        part: Part,
        old: &Value,
        candidate: &(dyn Fn(&Value) -> Result<Value> + Sync),
    ) -> Result<Value> {
        if target.kind.stored_as.is_none() {
            return candidate(old);
        }
        let shown = self.shown_one(target, old.clone()).await?;
        let mut new = candidate(&shown)?;
        target.kind.complete(&mut new);
        if self.converter(target).is_some() {
            new = merged(target, part, &shown, new)?;
            self.check_before_conversion(target, &new, Some(&shown))?;
        }
        self.to_stored(target, new).await
    }

    /// Checks an object that a webhook is to convert by the rules of its own version.
    fn check_before_conversion(
        &self,
        target: Target,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<()> {
        if target.kind.stored_as.is_none() || self.converter(target).is_none() {
            return Ok(());
        }
        match target.kind.faults(new, old) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(Status::invalid(target.kind, name(new), &faults)),
        }
    }

    async fn carry_out(
        &self,
        target: Target,
        key: &str,
        stored: &Object,
        old: &Value,
        plan: Plan,
        dry: bool,
    ) -> std::result::Result<Bytes, WriteFailure> {
        match plan {
            Plan::Unchanged => Ok(stored.json()),
            Plan::Remove(object) if dry => Ok(object.to_string().into()),
            Plan::Remove(object) => self
                .remove(target, key, stored, &object)
                .await
                .map_err(WriteFailure::Store),
            Plan::Update(mut object) => {
                if dry {
                    let reserved = self.reserve(target, &mut object, Some(old));
                    reserved.map_err(WriteFailure::Refused)?;
                    let fits = self.fits(target, key, &object);
                    fits.map_err(WriteFailure::Refused)?;
                    return Ok(object.to_string().into());
                }
                let expected = Some(stored.revision);
                let written = self.put(target, key, &mut object, Some(old), expected);
                let written = written.await?;
                self.release(target, key, old, Some(&object));
                Ok(written.json())
            }
        }
    }

    /// Removes a stored object; `last` is what watchers see of it.
    pub(super) async fn remove(
        &self,
        target: Target,
        key: &str,
        stored: &Object,
        last: &Value,
    ) -> std::result::Result<Bytes, WriteError> {
        let draft = self.store.draft(target.resource, last);
        let change = Change::Delete(draft, stored.revision);
        let gone = self
            .store
            .write(target.resource, key.into(), change)
            .await?;
        self.release(target, key, last, None);
        Ok(gone.json())
    }
}

/// Why something was not written.
pub(super) enum WriteFailure {
    /// The store did not take it.
    Store(WriteError),
    /// It was not offered to the store.
    Refused(Status),
}

/// Compares what a client wants with what is stored.
///
/// # Errors
/// 409 for a stale version or another uid, 422 naming every fault.
pub(super) fn plan(
    target: Target,
    part: Part,
    old: &Value,
    mut candidate: Value,
    trace: Trace<'_>,
) -> Result<Plan> {
    let kind = target.kind;
    agrees(target, old, &candidate)?;
    let given = managed::take(&mut candidate);
    let mut bare = old.clone();
    let had = managed::take(&mut bare);
    let mut new = merge_part(part, &bare, candidate);
    if part == Part::Whole {
        meta::keep(&mut new, &bare);
    }
    kind.complete(&mut new);
    if matches!(part, Part::Whole | Part::Own(_)) {
        (kind.prepare)(&mut new, Some(old));
    }
    let list = managed::record(target, trace, (&bare, &new), given, had.as_ref());
    if new == bare && list == had {
        return Ok(Plan::Unchanged);
    }
    managed::put(&mut new, list);
    check(target, part, &new, Some(old))?;
    Ok(if may_go(&new) {
        Plan::Remove(new)
    } else {
        Plan::Update(new)
    })
}

/// Whether nothing holds back an object that is being deleted.
pub(super) fn may_go(object: &Value) -> bool {
    is_deleting(object)
        && finalizers(object).is_empty()
        && items(object, "/spec/finalizers").is_empty()
        && integer(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
}

fn agrees(target: Target, old: &Value, candidate: &Value) -> Result<()> {
    let short = name(old);
    let differs = |pointer: &str| {
        let (have, want) = (text(old, pointer), text(candidate, pointer));
        (!want.is_empty() && want != have).then_some((have, want))
    };
    if differs("/metadata/name").is_some() || differs("/metadata/namespace").is_some() {
        let why = "the name of the object does not match the name on the URL";
        return Err(Status::bad_request(why));
    }
    if let Some((have, want)) = differs("/metadata/uid") {
        let why =
            format!("Precondition failed: UID in precondition: {want}, UID in object meta: {have}");
        return Err(Status::conflict(target.kind, short, &why));
    }
    match differs("/metadata/resourceVersion") {
        Some((_, want)) if want != "0" => Err(Status::stale(target.kind, short)),
        _ => Ok(()),
    }
}

/// The whole object of which a client wrote a part, as a webhook has to see it; its managers are
/// those that the client sent.
fn merged(target: Target, part: Part, old: &Value, mut candidate: Value) -> Result<Value> {
    agrees(target, old, &candidate)?;
    let given = managed::take(&mut candidate);
    let mut new = merge_part(part, old, candidate);
    match part {
        Part::Whole => meta::keep(&mut new, old),
        _ => drop(managed::take(&mut new)),
    }
    managed::put(&mut new, given);
    Ok(new)
}

fn merge_part(part: Part, old: &Value, mut candidate: Value) -> Value {
    let pointer = match part {
        Part::Whole | Part::Raw => return candidate,
        Part::Status | Part::Approval => "status",
        Part::Finalize => "spec",
        Part::Own(own) => return (own.merge)(old, &candidate),
    };
    let mut new = old.clone();
    let written = candidate
        .as_object_mut()
        .and_then(|object| object.remove(pointer));
    match written {
        Some(written) if part == Part::Finalize => {
            let left = written
                .get("finalizers")
                .cloned()
                .unwrap_or(Value::Array(Vec::new()));
            super::value::object(&mut new, "spec").insert("finalizers".into(), left);
        }
        Some(written) if part == Part::Approval => {
            let conditions = written.get("conditions").cloned();
            let conditions = conditions.unwrap_or(Value::Array(Vec::new()));
            super::value::object(&mut new, "status").insert("conditions".into(), conditions);
        }
        Some(written) => new[pointer] = written,
        None => {}
    }
    new
}

/// Checks an object that is about to be stored.
fn check(target: Target, part: Part, new: &Value, old: Option<&Value>) -> Result<()> {
    let mut faults = meta::validate(target.kind, new);
    faults.extend(match (part, old) {
        (Part::Own(own), Some(old)) => (own.validate)(new, old),
        _ => target.kind.faults(new, old),
    });
    faults.extend(old.and_then(|old| new_finalizer(new, old)));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(target.kind, name(new), &faults))
}

fn new_finalizer(new: &Value, old: &Value) -> Option<FieldError> {
    let stored = finalizers(old);
    let added = finalizers(new)
        .into_iter()
        .find(|finalizer| !stored.contains(finalizer))?;
    is_deleting(old).then(|| FieldError {
        field: "metadata.finalizers".into(),
        reason: FieldErrorReason::Forbidden,
        message: format!(
            "no new finalizers can be added if the object is being deleted, found {added:?}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    fn config_map() -> Target {
        Kinds(KINDS).of("", "configmaps").unwrap()
    }

    fn plan(target: Target, part: Part, old: &Value, candidate: Value) -> Result<Plan> {
        let writer = managed::Writer::of(Some("test"), None, "", part);
        super::plan(target, part, old, candidate, Trace::Update(&writer))
    }

    fn stored() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
            "metadata": {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "5",
                "creationTimestamp": "t"}})
    }

    #[test]
    fn the_same_content_changes_nothing() {
        let candidate = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
            "metadata": {"name": "x"}});
        assert_eq!(
            plan(config_map(), Part::Whole, &stored(), candidate).unwrap(),
            Plan::Unchanged
        );
    }

    #[test]
    fn a_stale_version_and_another_uid_are_conflicts() {
        for (key, value) in [("resourceVersion", "4"), ("uid", "other")] {
            let mut candidate = stored();
            candidate["metadata"][key] = value.into();
            let refused = plan(config_map(), Part::Whole, &stored(), candidate).unwrap_err();
            assert_eq!(refused.code, 409, "{key}");
        }
    }

    #[test]
    fn the_last_finalizer_takes_the_object_along() {
        let mut old = stored();
        old["metadata"]["deletionTimestamp"] = "t".into();
        old["metadata"]["finalizers"] = json!(["a/b"]);
        let mut candidate = old.clone();
        candidate["metadata"]["finalizers"] = json!([]);
        let planned = plan(config_map(), Part::Whole, &old, candidate).unwrap();
        assert!(matches!(planned, Plan::Remove(_)));
        let mut candidate = old.clone();
        candidate["metadata"]["finalizers"] = json!(["a/b", "c/d"]);
        assert_eq!(
            plan(config_map(), Part::Whole, &old, candidate)
                .unwrap_err()
                .code,
            422
        );
    }
}
