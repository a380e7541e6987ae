//! What a policy says of the writes that are its business, whatever it does about them.

use std::collections::HashMap;

use serde_json::Value;

use super::super::conditions::Conditions;
use super::super::matching::Match;
use crate::api::value::{items, name, text};
use crate::cel::{Budget, Program, Variables, map_of};
use crate::registry::POLICY_VARIABLES;

/// A compiled policy that does `R`.
pub(super) struct Policy<R> {
    pub(super) name: String,
    pub(super) matching: Match,
    pub(super) parameters: Option<ParameterKind>,
    pub(super) rules: R,
    conditions: Conditions,
    variables: Vec<(String, Result<Program, String>)>,
    /// Whether what cannot be evaluated counts as fulfilled.
    ignore: bool,
}

/// The kind of a policy's parameters.
pub(super) struct ParameterKind {
    /// `group/version`, or a version of the core group.
    pub(super) api_version: String,
    pub(super) kind: String,
}

/// What policies of a kind do.
pub(super) trait Rules {
    /// What a policy's spec says of it, compiled.
    fn read(spec: &Value) -> Self;
}

impl<R: Rules> Policy<R> {
    pub(super) fn read(policy: &Value) -> Policy<R> {
        let spec = policy.get("spec").cloned().unwrap_or_default();
        let variable = |it: &Value| {
            let program = Program::compile(text(it, "/expression"), POLICY_VARIABLES);
            (text(it, "/name").to_owned(), program)
        };
        let kind = text(&spec, "/paramKind/kind");
        let api_version = text(&spec, "/paramKind/apiVersion");
        Policy {
            name: name(policy).to_owned(),
            matching: Match::of_policy(&spec["matchConstraints"]),
            parameters: (!kind.is_empty()).then(|| ParameterKind {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
            }),
            rules: R::read(&spec),
            conditions: Conditions::read(&spec),
            variables: items(&spec, "/variables").iter().map(variable).collect(),
            ignore: text(&spec, "/failurePolicy") == "Ignore",
        }
    }
}

impl<R> Policy<R> {
    /// Whether a write goes on although something cannot be evaluated.
    pub(super) fn overlooks(&self, why: &str) -> bool {
        if self.ignore {
            tracing::debug!(policy = self.name, why, "ignored");
        }
        self.ignore
    }

    /// Whether the policy's conditions hold.
    ///
    /// # Errors
    /// Which one cannot be evaluated, and why.
    pub(super) fn holds(&self, seen: &Variables, budget: &mut Budget<'_>) -> Result<bool, String> {
        self.conditions.hold(seen, budget)
    }

    /// What is `seen`, and the policy's variables, each of which may look at those before. One that
    /// cannot be evaluated is missing, which matters where somebody looks at it.
    pub(super) fn with_variables(&self, mut seen: Variables, budget: &mut Budget<'_>) -> Variables {
        let mut known = HashMap::new();
        for (name, program) in &self.variables {
            let mut seen = seen.clone();
            seen.push(("variables".to_owned(), map_of(known.clone())));
            let value = program.as_ref().ok().map(|it| it.run(&seen, budget));
            if let Some(Ok(value)) = value {
                known.insert(name.clone(), value);
            }
        }
        seen.push(("variables".to_owned(), map_of(known)));
        seen
    }
}
