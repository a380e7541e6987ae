//! What a policy says.

use std::collections::HashMap;

use http::StatusCode;
use kube_cel::cel::Value as Seen;
use serde_json::Value;

use super::super::conditions::Conditions;
use super::super::matching::Match;
use crate::api::value::{items, name, text};
use crate::cel::{Budget, Program, Variables, map_of};
use crate::registry::POLICY_VARIABLES;

/// A code and its reason.
type Reason = (StatusCode, &'static str);

/// A compiled policy.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) matching: Match,
    /// `apiVersion` and kind of its parameters.
    pub(super) parameters: Option<(String, String)>,
    conditions: Conditions,
    variables: Vec<(String, Result<Program, String>)>,
    validations: Vec<Validation>,
    /// Whether what cannot be evaluated counts as fulfilled.
    ignore: bool,
}

struct Validation {
    text: String,
    program: Result<Program, String>,
    message: String,
    spoken: Option<Program>,
    reason: Reason,
}

/// What a policy has against an object.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) reason: Reason,
}

impl Policy {
    pub(super) fn read(policy: &Value) -> Policy {
        let spec = policy.get("spec").cloned().unwrap_or_default();
        let compile = |text: &str| Program::compile(text, POLICY_VARIABLES);
        let variable = |it: &Value| {
            let program = compile(text(it, "/expression"));
            (text(it, "/name").to_owned(), program)
        };
        let kind = text(&spec, "/paramKind/kind");
        let version = text(&spec, "/paramKind/apiVersion");
        Policy {
            name: name(policy).to_owned(),
            matching: Match::of_policy(&spec["matchConstraints"]),
            parameters: (!kind.is_empty()).then(|| (version.to_owned(), kind.to_owned())),
            conditions: Conditions::read(&spec),
            variables: items(&spec, "/variables").iter().map(variable).collect(),
            validations: items(&spec, "/validations")
                .iter()
                .map(Validation::read)
                .collect(),
            ignore: text(&spec, "/failurePolicy") == "Ignore",
        }
    }

    /// What comes of something that cannot be evaluated.
    pub(super) fn failed(&self, message: String) -> Option<Failure> {
        if self.ignore {
            tracing::debug!(policy = self.name, why = message, "ignored");
            return None;
        }
        let reason = reason("");
        Some(Failure { message, reason })
    }

    /// What the policy has against what is `seen`.
    pub(super) fn check(&self, mut seen: Variables, budget: &mut Budget) -> Vec<Failure> {
        match self.conditions.hold(&seen, budget) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(why) => return self.failed(why).into_iter().collect(),
        }
        let variables = self.variables(&seen, budget);
        seen.push(("variables".to_owned(), variables));
        let failures = self
            .validations
            .iter()
            .filter_map(|it| match it.check(&seen, budget) {
                Ok(failure) => failure,
                Err(why) => self.failed(why),
            });
        failures.collect()
    }

    /// The policy's variables, each of which may look at those before. One that cannot be evaluated is
    /// missing, which matters where somebody looks at it.
    fn variables(&self, seen: &Variables, budget: &mut Budget) -> Seen {
        let mut known: HashMap<String, Seen> = HashMap::new();
        for (name, program) in &self.variables {
            let mut seen = seen.clone();
            seen.push(("variables".to_owned(), map_of(known.clone())));
            let value = program.as_ref().ok().map(|it| it.run(&seen, budget));
            if let Some(Ok(value)) = value {
                known.insert(name.clone(), value);
            }
        }
        map_of(known)
    }
}

impl Validation {
    fn read(check: &Value) -> Validation {
        let compile = |text: &str| Program::compile(text, POLICY_VARIABLES);
        Validation {
            text: text(check, "/expression").trim().to_owned(),
            program: compile(text(check, "/expression")),
            message: text(check, "/message").to_owned(),
            spoken: compile(text(check, "/messageExpression")).ok(),
            reason: reason(text(check, "/reason")),
        }
    }

    fn check(&self, seen: &Variables, budget: &mut Budget) -> Result<Option<Failure>, String> {
        let result = match &self.program {
            Ok(program) => program.holds(seen, budget),
            Err(why) => Err(why.clone()),
        };
        let text = &self.text;
        match result {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(Failure {
                message: self.message(seen, budget),
                reason: self.reason,
            })),
            Err(why) => Err(format!("expression '{text}' resulted in error: {why}")),
        }
    }

    fn message(&self, seen: &Variables, budget: &mut Budget) -> String {
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
        let policy = Policy::read(&json!({"metadata": {"name": "p"}, "spec": spec}));
        let object = json!({"spec": {"replicas": 7}, "metadata": {"labels": {"team": "a"}}});
        let seen = vec![
            ("object".to_owned(), of_json(&object)),
            ("params".to_owned(), of_json(&json!({"most": 5}))),
        ];
        let failures = policy.check(seen, &mut Budget::default());
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
