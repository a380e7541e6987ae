//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: servers that clients have registered are
//! asked about writes before they happen.
//!
//! `hook` holds what a configuration says, compiled once for each of its versions; `review` writes
//! the question and reads the answer; `api::remote` asks. Mutating hooks are asked one after the other in
//! the order of their names, and those that want it again when the object has changed since;
//! validating ones all at the same time.
//!
//! What it will not do: show the configurations themselves to hooks, which could lock each other out.
//! The subresources `scale` and `binding`, evictions and connections are not shown yet.

mod hook;
mod review;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use self::hook::{Hook, Index};
use self::review::{Answer, Question};
pub(super) use self::review::{Operation, facts};
use super::conditions::{shown, variables};
use super::request::Request;
use crate::api::kinds::{Kinds, Target};
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{metadata, name, namespace};
use crate::cel::Budget;
use crate::store::Resource;

/// The registered hooks.
pub(in crate::api) struct Hooks {
    mutating: Index,
    validating: Index,
}

/// The hooks that have been asked and want to be again, and what each of them left behind.
#[derive(Default)]
pub(super) struct Asked(Vec<(Arc<Hook>, Value)>);

/// One write, as hooks are asked about it.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) server: &'a Server,
    pub(super) request: &'a Request<'a>,
    /// The kind under which the object is kept.
    pub(super) target: Target,
    pub(super) operation: Operation,
}

impl<'a> Write<'a> {
    /// A creation, or with `old` an update.
    pub(super) fn of(
        server: &'a Server,
        request: &'a Request<'a>,
        target: Target,
        old: Option<&Value>,
    ) -> Self {
        let operation = old.map_or(Operation::Create, |_| Operation::Update);
        Self {
            server,
            request,
            target,
            operation,
        }
    }
}

impl Hooks {
    /// No hooks; those among `kinds` will be looked up.
    pub(in crate::api) fn new(kinds: &Kinds) -> Self {
        let group = "admissionregistration.k8s.io";
        let of = |plural: &str| -> Option<Resource> { Some(kinds.of(group, plural)?.resource) };
        Self {
            mutating: Index::new(of("mutatingwebhookconfigurations")),
            validating: Index::new(of("validatingwebhookconfigurations")),
        }
    }

    /// Whether no hook is registered for changing objects.
    pub(super) fn never_mutate(&self, server: &Server) -> bool {
        self.mutating.is_empty(server)
    }

    /// Whether no hook is registered for refusing objects.
    pub(super) fn never_refuse(&self, server: &Server) -> bool {
        self.validating.is_empty(server)
    }

    /// Lets hooks change an object, one after the other.
    ///
    /// # Errors
    /// What a hook refuses with, or 500 where one cannot be asked and nothing may happen without it.
    pub(super) async fn mutate(
        &self,
        write: Write<'_>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Asked> {
        let mut asked = Asked::default();
        for hook in self.mutating.hooks(write.server).iter() {
            let before = new.clone();
            if change(write, hook, new, old).await? && hook.reinvoke {
                asked.0.push((hook.clone(), new.clone()));
            }
            if *new != before {
                write.target.kind.complete(new);
            }
        }
        Ok(asked)
    }

    /// Asks all hooks whether an object may be stored, or with `new` absent deleted.
    ///
    /// # Errors
    /// What the first hook refuses with, or 500 where one cannot be asked and nothing may happen
    /// without it.
    pub(super) async fn validate(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<()> {
        let hooks = self.validating.hooks(write.server);
        let answers = hooks.iter().map(|hook| ask(write, hook, new, old));
        for answer in join_all(answers).await {
            answer?;
        }
        Ok(())
    }

    /// Asks the hooks for changes about a deletion, of which nothing can be changed.
    ///
    /// # Errors
    /// As in [`Self::validate`].
    pub(super) async fn before_deletion(&self, write: Write<'_>, old: &Value) -> Result<()> {
        for hook in self.mutating.hooks(write.server).iter() {
            ask(write, hook, None, Some(old)).await?;
        }
        Ok(())
    }
}

impl Asked {
    /// Asks those again that would find another object than they left.
    ///
    /// # Errors
    /// As in [`Hooks::mutate`].
    pub(super) async fn again(
        self,
        write: Write<'_>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<()> {
        for (hook, left) in self.0 {
            if left != *new && change(write, &hook, new, old).await? {
                write.target.kind.complete(new);
            }
        }
        Ok(())
    }
}

/// Asks one hook and does what it says; whether it was asked.
async fn change(
    write: Write<'_>,
    hook: &Hook,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<bool> {
    let Some((version, answer)) = ask(write, hook, Some(new), old).await? else {
        return Ok(false);
    };
    let Some(patch) = answer.patch else {
        return Ok(true);
    };
    let server = write.server;
    let mut shown = server.shown_one(version, new.clone()).await?;
    if let Err(error) = json_patch::patch(&mut shown, &patch) {
        let why = format!("the patch cannot be applied: {error}");
        failed(hook, &why)?;
        return Ok(true);
    }
    let mut shown = server.to_stored(version, shown).await?;
    keep_identity(&mut shown, new);
    *new = shown;
    Ok(true)
}

/// What makes the object this one is not a hook's or a policy's to change.
pub(super) fn keep_identity(new: &mut Value, old: &Value) {
    new["apiVersion"] = old["apiVersion"].clone();
    new["kind"] = old["kind"].clone();
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "managedFields",
    ] {
        let kept = old.pointer(&format!("/metadata/{key}")).cloned();
        let metadata = metadata(new);
        match kept {
            Some(kept) => metadata.insert(key.into(), kept),
            None => metadata.remove(key),
        };
    }
}

/// Asks one hook, if the write is its business; the version in which it was shown the object comes
/// with the answer. None where it could not be asked and may be ignored.
async fn ask(
    write: Write<'_>,
    hook: &Hook,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<(Target, Answer)>> {
    let Some(version) = hook.matching.version(write, new, old) else {
        return Ok(None);
    };
    let asked = new.or(old).unwrap_or(&Value::Null);
    let (new, old) = (
        shown(write, version, new).await?,
        shown(write, version, old).await?,
    );
    let (new, old) = (new.as_deref(), old.as_deref());
    if !hook.conditions.is_empty() {
        let seen = variables(write, version, new, old);
        match hook.conditions.hold(&seen, &mut Budget::default()) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(why) => return failed(hook, &why).map(|()| None),
        }
    }
    if write.request.dry && !hook.dry {
        let name = &hook.name;
        let why = format!("admission webhook {name:?} does not support dry run");
        return Err(Status::bad_request(why));
    }
    let question = Question::new(write, version, new, old);
    let answer = match put(write.server, hook, &question).await {
        Ok(body) => question.read(&body),
        Err(why) => Err(why),
    };
    match answer {
        Err(why) => failed(hook, &why).map(|()| None),
        Ok(answer) => {
            for warning in &answer.warnings {
                write.request.warn(warning.clone());
            }
            for (key, text) in &answer.notes {
                let key = format!("{}/{key}", hook.name);
                write.request.note(&key, || text.clone());
            }
            if let Some(refusal) = answer.refusal(&hook.name) {
                tracing::debug!(
                    hook = hook.name,
                    name = name(asked),
                    namespace = namespace(asked),
                    why = refusal.message,
                    "refused"
                );
                return Err(refusal);
            }
            Ok(Some((version, answer)))
        }
    }
}

/// Puts a question to a hook and answers the body of its answer.
async fn put(
    server: &Server,
    hook: &Hook,
    question: &Question,
) -> std::result::Result<Bytes, String> {
    if !hook.current {
        return Err("the webhook does not accept AdmissionReview v1".to_owned());
    }
    let answer = hook.remote.post(server, question.body.to_string()).await;
    answer.map_err(|why| format!("failed to call webhook: {why}"))
}

/// A hook that cannot be asked stops the write, unless it may be ignored.
fn failed(hook: &Hook, why: &str) -> Result<()> {
    let name = &hook.name;
    if hook.ignore {
        tracing::warn!(hook = name, why, "a webhook that may be ignored failed");
        return Ok(());
    }
    let why = format!("failed calling webhook {name:?}: {why}");
    Err(Status::internal(why))
}
