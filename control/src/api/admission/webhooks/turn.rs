//! One question to a hook about a write, and what comes of it beside the object: warnings,
//! refusals, failures, and what the audit log hears.

use serde_json::{Value, json};

use super::super::write::Write;
use super::hook::Hook;
use super::review::Answer;
use crate::api::status::{Result, Status};

/// What hooks are asked for that may change objects, as keys of annotations name it.
const MUTATION: &str = "mutation";

/// A hook that is asked about a write.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) write: Write<'a>,
    pub(super) hook: &'a Hook,
    /// What it is asked for, as keys of annotations name it.
    purpose: &'static str,
    /// 0, or 1 if it is asked once more.
    round: u8,
}

impl<'a> Turn<'a> {
    /// The hook may change the object, for the first time (0) or once more (1).
    pub(super) fn to_change(write: Write<'a>, hook: &'a Hook, round: u8) -> Self {
        Self {
            write,
            hook,
            purpose: MUTATION,
            round,
        }
    }

    /// The hook may refuse the object.
    pub(super) fn to_check(write: Write<'a>, hook: &'a Hook) -> Self {
        Self {
            write,
            hook,
            purpose: "validating",
            round: 0,
        }
    }

    /// The hook cannot be asked, or its answer not be understood, which stops the write unless the
    /// hook may be ignored.
    ///
    /// # Errors
    /// 500.
    pub(super) fn failed(self, why: &str) -> Result<()> {
        let name = &self.hook.name;
        if self.hook.ignore {
            tracing::warn!(hook = name, why, "a webhook that may be ignored failed");
            let key = self.key(&format!("failed-open.{}", self.purpose));
            self.write.request.note(&key, || name.clone());
            if self.purpose == MUTATION {
                self.note_mutation(false);
            }
            return Ok(());
        }
        let why = format!("failed calling webhook {name:?}: {why}");
        Err(Status::internal(why))
    }

    /// Passes on what the hook said beside its patch.
    ///
    /// # Errors
    /// What it refuses with.
    pub(super) fn heard(self, answer: Answer, object: &Value) -> Result<Answer> {
        let (request, hook) = (self.write.request, self.hook);
        for warning in &answer.warnings {
            request.warn(warning.clone());
        }
        for (key, text) in &answer.notes {
            request.note(&format!("{}/{key}", hook.name), || text.clone());
        }
        let Some(refusal) = answer.refusal(&hook.name) else {
            return Ok(answer);
        };
        tracing::debug!(
            hook = hook.name,
            name = self.write.name(object),
            namespace = self.write.namespace(object),
            why = refusal.message,
            "refused"
        );
        Err(refusal)
    }

    /// Notes whether the hook has changed the object.
    pub(super) fn note_mutation(self, mutated: bool) {
        let note = || self.about("mutated", mutated.into()).to_string();
        self.write.request.note(&self.key(self.purpose), note);
    }

    /// Notes how, where the log keeps what is written.
    pub(super) fn note_patch(self, patch: &json_patch::Patch) {
        let note = || {
            let mut about = self.about("patch", json!(patch));
            about["patchType"] = "JSONPatch".into();
            about.to_string()
        };
        self.write.request.note_content(&self.key("patch"), note);
    }

    fn about(self, key: &str, value: Value) -> Value {
        json!({"configuration": self.hook.configuration, "webhook": self.hook.name, key: value})
    }

    /// The hook's place among all of its sort tells annotations apart.
    fn key(self, what: &str) -> String {
        let (round, place) = (self.round, self.hook.place);
        format!("{what}.webhook.admission.k8s.io/round_{round}_index_{place}")
    }
}
