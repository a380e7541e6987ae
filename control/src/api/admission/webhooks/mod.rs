//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: servers that clients have registered are
//! asked about writes before they happen.
//!
//! `hook` holds what a configuration says, compiled once for each of its versions; `review` writes
//! the question and reads the answer, `turn` is what comes of it; `api::remote` asks. Mutating hooks
//! are asked one after the other in the order of their names, and those that want it again when the
//! object has changed since; validating ones all at the same time.
//!
//! What it will not do: show the configurations themselves to hooks, which could lock each other out.

mod hook;
mod review;
#[cfg(test)]
mod tests;
mod turn;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::Value;

use self::hook::{Hook, Index};
pub(in crate::api) use self::review::Operation;
pub(super) use self::review::facts;
use self::review::{Answer, Question};
use self::turn::Turn;
use super::asked::Asked;
use super::conditions::{shown, variables};
use super::write::Write;
use crate::api::kinds::{Kinds, Target};
use crate::api::operations::operate;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::cel::{self, Budget};
use crate::store::Resource;

/// The registered hooks.
pub(in crate::api) struct Hooks {
    mutating: Index,
    validating: Index,
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
    ) -> Result<Asked<Hook>> {
        let mut asked = Asked::default();
        for hook in self.mutating.hooks(write.server).iter() {
            let turn = Turn::to_change(write, hook, 0);
            if change(turn, new, old).await? && hook.reinvoke {
                asked.left(hook, new);
            }
        }
        Ok(asked)
    }

    /// Asks those again that would find another object than they left.
    ///
    /// # Errors
    /// As in [`Self::mutate`].
    pub(super) async fn again(
        &self,
        write: Write<'_>,
        mut asked: Asked<Hook>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<()> {
        while let Some(hook) = asked.surprised(new) {
            change(Turn::to_change(write, &hook, 1), new, old).await?;
        }
        Ok(())
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
        let turns = hooks.iter().map(|hook| Turn::to_check(write, hook));
        for answer in join_all(turns.map(|turn| ask(turn, new, old))).await {
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
            ask(Turn::to_change(write, hook, 0), None, Some(old)).await?;
        }
        Ok(())
    }
}

/// Asks one hook and does what it says; whether it was asked.
async fn change(turn: Turn<'_>, new: &mut Value, old: Option<&Value>) -> Result<bool> {
    let before = new.clone();
    let asked = obey(turn, new, old).await;
    if !matches!(asked, Ok(false)) {
        turn.note_mutation(*new != before);
    }
    asked
}

async fn obey(turn: Turn<'_>, new: &mut Value, old: Option<&Value>) -> Result<bool> {
    let Some((version, answer)) = ask(turn, Some(new), old).await? else {
        return Ok(false);
    };
    let Some(patch) = answer.patch else {
        return Ok(true);
    };
    let mut shown = turn.write.shown(version, new.clone()).await?;
    if let Err(error) = operate(&mut shown, &patch) {
        let why = format!("the patch cannot be applied: {error}");
        turn.failed(&why)?;
        return Ok(true);
    }
    turn.note_patch(&patch);
    *new = turn.write.changed(version, shown, new).await?;
    Ok(true)
}

/// Asks one hook, if the write is its business; the version in which it was shown the object comes
/// with the answer. None where it could not be asked and may be ignored.
async fn ask(
    turn: Turn<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<(Target, Answer)>> {
    let Turn { write, hook, .. } = turn;
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
        let asked = |question: &cel::Question| write.answer(question);
        match hook.conditions.hold(&seen, &mut Budget::asking(&asked)) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(why) => return turn.failed(&why).map(|()| None),
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
        Err(why) => turn.failed(&why).map(|()| None),
        Ok(answer) => turn
            .heard(answer, asked)
            .map(|answer| Some((version, answer))),
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
