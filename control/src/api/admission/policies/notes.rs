//! What policies tell the audit log of a write.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::write::Write;
use crate::api::value::text;
use crate::cel::{Budget, Program, Variables, to_json};
use crate::registry::POLICY_VARIABLES;

/// Where the log tells of violations that a binding only wants to be told there.
const VIOLATIONS: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A line that a policy wants in the log.
pub(super) struct Note {
    pub(super) key: String,
    program: Result<Program, String>,
}

/// What the policies have told of one write.
#[derive(Default)]
pub(super) struct Notes {
    /// By `policy/key`, once each.
    lines: BTreeMap<String, Vec<String>>,
    violations: Vec<Value>,
}

impl Note {
    pub(super) fn read(note: &Value) -> Note {
        let text = |path: &str| text(note, path);
        Note {
            key: text("/key").to_owned(),
            program: Program::compile(text("/valueExpression"), POLICY_VARIABLES),
        }
    }

    /// What it says; none if it is null.
    ///
    /// # Errors
    /// Why that cannot be evaluated.
    pub(super) fn line(
        &self,
        seen: &Variables,
        budget: &mut Budget<'_>,
    ) -> Result<Option<String>, String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        match to_json(&program.run(seen, budget)?)? {
            Value::Null => Ok(None),
            Value::String(line) => Ok(Some(line)),
            _ => Err(format!(
                "valueExpression of audit annotation {:?} is neither a string nor null",
                self.key
            )),
        }
    }
}

impl Notes {
    /// A policy's line under its key.
    pub(super) fn add(&mut self, policy: &str, key: &str, line: String) {
        let lines = self.lines.entry(format!("{policy}/{key}")).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// A violation of which a binding wants the log to know.
    pub(super) fn violated(&mut self, violation: Value) {
        self.violations.push(violation);
    }

    /// Leaves them with the write.
    pub(super) fn leave(self, write: Write<'_>) {
        for (key, lines) in self.lines {
            write.request.note(&key, || lines.join(", "));
        }
        if !self.violations.is_empty() {
            let all = Value::Array(self.violations);
            write.request.note(VIOLATIONS, || all.to_string());
        }
    }
}
