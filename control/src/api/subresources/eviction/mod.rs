//! Eviction: a deletion that asks the pod's disruption budget first.
//!
//! `budget` judges and spends, over objects; here is what is read and written. What a budget allows
//! is taken from its status under the version that was read, so that evictions that run at the same
//! time, on any server, never take more than there is. Then the pod is told in condition
//! `DisruptionTarget`, and deleted. A precondition that fails costs the budget nothing.
//!
//! What counts a budget's pods, and gives back what an eviction took and did not use, is
//! `controllers/disruption`.

mod budget;

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::budget::Verdict;
use crate::api::admission::{Operation, Request};
use crate::api::body::{Body, Reply, document, json as json_reply};
use crate::api::kinds::Target;
use crate::api::managed::{Trace, Writer};
use crate::api::options::DeleteOptions;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{items, key, name, object, text, timestamp};
use crate::api::verbs::{Call, check_preconditions, delete_one};
use crate::api::write::Part;
use crate::api::{decode, negotiate};
use crate::registry::rules::matches;

/// Attempts of an eviction that others come in the way of.
const ATTEMPTS: usize = 20;
/// How long it waits for them where many evictions share a budget.
const PAUSE: Duration = Duration::from_millis(50);
const CONDITION: &str = "DisruptionTarget";

pub(super) async fn evict(call: &Call, body: Body) -> Result<Reply> {
    let bytes = decode::read(body).await?;
    let mut eviction = decode::object(&bytes, &negotiate::content_type(&call.headers))?;
    let pod = call.path.name.as_deref().unwrap_or_default();
    let named = name(&eviction);
    if !named.is_empty() && named != pod {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let part = call.part(Operation::Create, ("policy", "v1", "Eviction"));
    let request = call.request(DeleteOptions::parse(&call.query, None)?.dry_run);
    part.admit(&call.server, &request, &mut eviction, None)
        .await?;
    let options = eviction
        .get("deleteOptions")
        .filter(|options| !options.is_null());
    let options = DeleteOptions::parse(&call.query, options.map(|options: &Value| options))?;
    let work = Eviction {
        server: &call.server,
        target: call.target,
        namespace: call.path.namespace.as_deref().unwrap_or_default(),
        key: key(call.path.namespace.as_deref(), pod),
        options,
        writer: Writer::of(Some("naru-control"), None, "", Part::Status),
    };
    work.carry_out().await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "code": 201});
    Ok(document(json_reply(StatusCode::CREATED, &done)))
}

/// Whom to evict, and how.
struct Eviction<'a> {
    server: &'a Server,
    /// The kind of pods.
    target: Target,
    namespace: &'a str,
    key: String,
    options: DeleteOptions,
    /// Whose name stands at what the eviction writes.
    writer: Writer,
}

impl Eviction<'_> {
    async fn carry_out(&self) -> Result<()> {
        let short = self.key.rsplit('/').next().unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let stored = self.server.store.get(self.target.resource, &self.key);
            let stored = stored.ok_or_else(|| Status::not_found(self.target.kind, short))?;
            let pod = stored.value();
            check_preconditions(self.target, &pod, &self.options)?;
            let protected = budget::is_asked(&pod);
            let budgets = if protected {
                self.budgets(&pod)
            } else {
                Vec::new()
            };
            let (unchanged, budget) = match budget::judge(&pod, &budgets)? {
                Verdict::Free => (false, None),
                Verdict::WhileUnready(budget) => (true, budget),
                Verdict::Spend(budget) => {
                    self.spend(budget, short).await?;
                    (false, None)
                }
            };
            match self.remove(&pod, unchanged).await {
                Err(status) if self.was_overtaken(&status, unchanged) => {
                    if let Some(budget) = budget {
                        return Err(budget::unsettled(name(budget)));
                    }
                }
                done => return done,
            }
        }
        Err(Status::stale(self.target.kind, short))
    }

    /// Whether the pod changed where only we had bound the deletion to its version.
    fn was_overtaken(&self, status: &Status, unchanged: bool) -> bool {
        let ours = unchanged && self.options.resource_version.is_none();
        ours && status.code == StatusCode::CONFLICT
    }

    fn kind_of_budgets(&self) -> Result<Target> {
        let kind = self.server.kinds.of("policy", "poddisruptionbudgets");
        kind.ok_or_else(Status::no_such_resource)
    }

    /// The budgets that match the pod: none without a selector, everybody with an empty one.
    fn budgets(&self, pod: &Value) -> Vec<Value> {
        let Ok(target) = self.kind_of_budgets() else {
            return Vec::new();
        };
        let nothing = Value::Null;
        let labels = pod.pointer("/metadata/labels").unwrap_or(&nothing);
        let snapshot = self.server.store.snapshot(target.resource);
        let all = snapshot.range(Some(self.namespace), None);
        all.map(|(_, stored)| stored.value())
            .filter(|budget| {
                let selector = budget.pointer("/spec/selector");
                selector.is_some_and(|it| it.is_object() && matches(it, labels))
            })
            .collect()
    }

    /// Takes the pod off what the budget allows.
    async fn spend(&self, known: &Value, pod: &str) -> Result<()> {
        let target = self.kind_of_budgets()?;
        let spent = |budget: &Value| budget::spend(target.kind, budget, pod, Timestamp::now());
        if self.options.dry_run {
            return spent(known).map(drop);
        }
        let key = key(Some(self.namespace), name(known));
        let (own, trace) = (Request::own(target), Trace::Update(&self.writer));
        for _ in 0..ATTEMPTS {
            let written = self
                .server
                .modify(target, &key, Part::Status, &own, trace, &spent);
            match written.await {
                Err(status) if status.code == StatusCode::CONFLICT => {}
                written => return written.map(drop),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(budget::contended(name(known)))
    }

    /// Tells the pod and deletes it; only in the version that was read, if it must be `unchanged`.
    async fn remove(&self, pod: &Value, unchanged: bool) -> Result<()> {
        let mut options = self.options.clone();
        if unchanged && options.resource_version.is_none() {
            let version = text(pod, "/metadata/resourceVersion");
            options.resource_version = Some(version.to_owned());
        }
        let own = Request::own(self.target);
        if !options.dry_run {
            let told = |old: &Value| {
                check_preconditions(self.target, old, &options)?;
                Ok(told(old, Timestamp::now()))
            };
            let trace = Trace::Update(&self.writer);
            let told = self
                .server
                .modify(self.target, &self.key, Part::Status, &own, trace, &told)
                .await?;
            if options.resource_version.is_some() {
                let told: Value = serde_json::from_slice(&told)
                    .map_err(|error| Status::internal(error.to_string()))?;
                let version = text(&told, "/metadata/resourceVersion");
                options.resource_version = Some(version.to_owned());
            }
        }
        delete_one(self.server, self.target, &self.key, &options, &own)
            .await
            .map(drop)
    }
}

/// The pod with the word that it is about to be deleted, and by whom.
fn told(pod: &Value, now: Timestamp) -> Value {
    let (reason, message) = ("EvictionByEvictionAPI", "Eviction API: evicting");
    let conditions = items(pod, "/status/conditions");
    let had = conditions
        .iter()
        .find(|it| text(it, "/type") == CONDITION && text(it, "/status") == "True");
    if had.is_some_and(|had| text(had, "/reason") == reason && text(had, "/message") == message) {
        return pod.clone();
    }
    let since = had.and_then(|had| had.get("lastTransitionTime")).cloned();
    let mut condition = json!({"type": CONDITION, "status": "True", "reason": reason,
        "message": message, "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| timestamp(now).into())});
    if let Some(generation) = pod.pointer("/metadata/generation") {
        condition["observedGeneration"] = generation.clone();
    }
    let others = conditions
        .iter()
        .filter(|it| text(it, "/type") != CONDITION);
    let conditions: Vec<Value> = others.cloned().chain([condition]).collect();
    let mut new = pod.clone();
    object(&mut new, "status").insert("conditions".into(), conditions.into());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_once_and_keeps_its_other_conditions() {
        let pod = json!({"metadata": {"generation": 2},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let first = told(&pod, Timestamp::UNIX_EPOCH);
        assert_eq!(
            first["status"]["conditions"],
            json!([{"type": "Ready", "status": "True"},
                {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting", "lastProbeTime": null,
                    "lastTransitionTime": "1970-01-01T00:00:00Z", "observedGeneration": 2}])
        );
        let later = Timestamp::from_second(60).unwrap();
        assert_eq!(told(&first, later), first);
        let mut other = first.clone();
        other["status"]["conditions"][1]["reason"] = "DeletionByTaintManager".into();
        let again = told(&other, later);
        assert_eq!(again, first, "another reason, and the time of the first");
    }
}
