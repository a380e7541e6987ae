//! What objects have to fulfil.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::write::Write;
use super::Policies;
use super::index::Bound;
use super::notes::{Note, Notes};
use super::policy::{Policy, Rules};
use crate::api::status::{Result, Status};
use crate::api::value::{items, text};
use crate::cel::{Budget, Program, Question, Variables};
use crate::registry::{MESSAGE_VARIABLES, POLICY_VARIABLES};

/// A code and its reason.
type Reason = (StatusCode, &'static str);

/// All that a policy wants to be true, and what it tells the audit log.
pub(super) struct Validations {
    all: Vec<Validation>,
    notes: Vec<Note>,
}

struct Validation {
    text: String,
    program: std::result::Result<Program, String>,
    message: String,
    spoken: Option<Program>,
    reason: Reason,
}

/// What a policy has against an object.
#[derive(Debug, PartialEq)]
struct Failure {
    /// Which expression; the first for what cannot even be asked.
    index: usize,
    message: String,
    reason: Reason,
}

impl Rules for Validations {
    fn read(spec: &Value) -> Self {
        let all = items(spec, "/validations").iter();
        let notes = items(spec, "/auditAnnotations").iter();
        Self {
            all: all.map(Validation::read).collect(),
            notes: notes.map(Note::read).collect(),
        }
    }
}

impl Policies {
    /// Checks an object that is to be stored, or with `new` absent deleted.
    ///
    /// # Errors
    /// What the first policy that denies it says.
    pub(in super::super) async fn check(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<()> {
        let mut notes = Notes::default();
        let result = self.ask(write, new, old, &mut notes).await;
        notes.leave(write);
        result
    }

    async fn ask(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
        notes: &mut Notes,
    ) -> Result<()> {
        for bound in self.validating.bound(write.server).iter() {
            let failures = bound.failures(write, new, old, notes).await?;
            let object = new.or(old).unwrap_or(&Value::Null);
            bound.act(write, object, failures, notes)?;
        }
        Ok(())
    }
}

impl Bound<Validations> {
    /// What the policy has against a write; nothing if it is not its business.
    ///
    /// # Errors
    /// 500 if a webhook does not convert an object into a version that somebody wants to see.
    async fn failures(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
        notes: &mut Notes,
    ) -> Result<Vec<Failure>> {
        let Some(scene) = self.scene(write, new, old).await else {
            return Ok(Vec::new());
        };
        let parameters = match &scene.parameters {
            Ok(parameters) => parameters,
            Err(why) => return Ok(self.policy.failed(0, why.clone()).into_iter().collect()),
        };
        let (new, old) = (scene.shown(new).await?, scene.shown(old).await?);
        let asked = |question: &Question| write.answer(question);
        let mut budget = Budget::asking(&asked);
        let mut failures = Vec::new();
        for parameter in parameters {
            let seen = scene.seen(new.as_deref(), old.as_deref(), parameter.as_ref());
            failures.extend(self.policy.check(seen, &mut budget, notes));
        }
        Ok(failures)
    }

    /// Does what the binding wants done about failures.
    fn act(
        &self,
        write: Write<'_>,
        object: &Value,
        failures: Vec<Failure>,
        notes: &mut Notes,
    ) -> Result<()> {
        let (policy, binding) = (&self.policy.name, &self.binding.name);
        let what = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}'");
        for failure in failures {
            let message = failure.message;
            if self.binding.warns {
                let warning = format!("Validation failed for {what}: {message}");
                write.request.warn(warning);
            }
            if self.binding.audits {
                notes.violated(json!({
                    "message": message, "policy": policy, "binding": binding,
                    "expressionIndex": failure.index, "validationActions": self.binding.actions()
                }));
            }
            if self.binding.denies {
                let why = format!("{what} denied request: {message}");
                let name = write.called(object);
                let mut status = Status::forbidden_object(write.target.kind, name, &why);
                (status.code, status.reason) = failure.reason;
                return Err(status);
            }
        }
        Ok(())
    }
}

impl Policy<Validations> {
    /// What comes of something that cannot be evaluated.
    fn failed(&self, index: usize, message: String) -> Option<Failure> {
        let reason = reason("");
        (!self.overlooks(&message)).then_some(Failure {
            index,
            message,
            reason,
        })
    }

    /// What the policy has against what is `seen`.
    fn check(&self, seen: Variables, budget: &mut Budget<'_>, notes: &mut Notes) -> Vec<Failure> {
        match self.holds(&seen, budget) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(why) => return self.failed(0, why).into_iter().collect(),
        }
        let seen = self.with_variables(seen, budget);
        let mut failures = Vec::new();
        for (index, validation) in self.rules.all.iter().enumerate() {
            match validation.check(&seen, budget) {
                Ok(None) => {}
                Ok(Some((message, reason))) => failures.push(Failure {
                    index,
                    message,
                    reason,
                }),
                Err(why) => failures.extend(self.failed(index, why)),
            }
        }
        for note in &self.rules.notes {
            match note.line(&seen, budget) {
                Ok(line) => line
                    .into_iter()
                    .for_each(|line| notes.add(&self.name, &note.key, line)),
                Err(why) => failures.extend(self.failed(0, why)),
            }
        }
        failures
    }
}

impl Validation {
    fn read(check: &Value) -> Validation {
        let program = Program::compile(text(check, "/expression"), POLICY_VARIABLES);
        let spoken = Program::compile(text(check, "/messageExpression"), MESSAGE_VARIABLES);
        Validation {
            text: text(check, "/expression").trim().to_owned(),
            program,
            message: text(check, "/message").to_owned(),
            spoken: spoken.ok(),
            reason: reason(text(check, "/reason")),
        }
    }

    /// What is said if it is not fulfilled.
    fn check(
        &self,
        seen: &Variables,
        budget: &mut Budget<'_>,
    ) -> std::result::Result<Option<(String, Reason)>, String> {
        let result = match &self.program {
            Ok(program) => program.holds(seen, budget),
            Err(why) => Err(why.clone()),
        };
        let text = &self.text;
        match result {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some((self.message(seen, budget), self.reason))),
            Err(why) => Err(format!("expression '{text}' resulted in error: {why}")),
        }
    }

    fn message(&self, seen: &Variables, budget: &mut Budget<'_>) -> String {
        let spoken = self.spoken.as_ref();
        let spoken = spoken.and_then(|program| program.text(seen, budget).ok());
        let spoken = spoken.filter(|text| !text.trim().is_empty() && !text.contains('\n'));
        let written = Some(self.message.clone()).filter(|message| !message.is_empty());
        let fallback = || format!("failed expression: {}", self.text);
        spoken.or(written).unwrap_or_else(fallback)
    }
}

fn reason(text: &str) -> Reason {
    match text {
        "Unauthorized" => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        "Forbidden" => (StatusCode::FORBIDDEN, "Forbidden"),
        "RequestEntityTooLarge" => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cel::of_json;

    fn failures(spec: Value) -> Vec<String> {
        let policy = Policy::<Validations>::read(&json!({"metadata": {"name": "p"}, "spec": spec}));
        let object = json!({"spec": {"replicas": 7}, "metadata": {"labels": {"team": "a"}}});
        let seen = vec![
            ("object".to_owned(), of_json(&object)),
            ("params".to_owned(), of_json(&json!({"most": 5}))),
        ];
        let failures = policy.check(seen, &mut Budget::default(), &mut Notes::default());
        failures
            .into_iter()
            .map(|failure| failure.message)
            .collect()
    }

    #[test]
    fn validations_see_objects_parameters_and_variables() {
        let spec = json!({
            "variables": [{"name": "have", "expression": "object.spec.replicas"},
                {"name": "over", "expression": "variables.have - params.most"},
                {"name": "broken", "expression": "object.nothing.at.all"}],
            "validations": [
                {"expression": "variables.over <= 0", "messageExpression":
                    "string(variables.over) + ' too many'"},
                {"expression": "object.spec.replicas < 5"},
                {"expression": "object.spec.replicas < 6", "message": "less"},
                {"expression": "has(object.spec)"}]});
        assert_eq!(
            failures(spec),
            [
                "2 too many",
                "failed expression: object.spec.replicas < 5",
                "less"
            ]
        );
    }

    #[test]
    fn what_cannot_be_evaluated_fails_unless_it_is_ignored() {
        let mut spec = json!({"validations": [{"expression": "object.nothing == 1"}]});
        assert_eq!(
            failures(spec.clone()),
            ["expression 'object.nothing == 1' resulted in error: no such key: nothing"]
        );
        spec["failurePolicy"] = "Ignore".into();
        assert!(failures(spec).is_empty());
        let unmet = json!({"matchConditions": [{"name": "n",
            "expression": "object.metadata.labels.team == 'b'"}],
            "validations": [{"expression": "false"}]});
        assert!(failures(unmet).is_empty());
    }
}
