//! Faults as they are found.

use serde_json::Value;

use super::At;
use crate::registry::kind::{FieldError, FieldErrorReason};

/// Collects the faults of one object.
#[derive(Default)]
pub(crate) struct Faults(Vec<FieldError>);

impl Faults {
    fn push(&mut self, at: &At<'_>, reason: FieldErrorReason, message: String) {
        self.0.push(FieldError {
            field: at.path().to_owned(),
            reason,
            message,
        });
    }

    /// A value is missing; `why` may be empty.
    pub(crate) fn required(&mut self, at: &At<'_>, why: &str) {
        self.push(at, FieldErrorReason::Required, why.to_owned());
    }

    /// A value breaks a rule.
    pub(crate) fn invalid(&mut self, at: &At<'_>, rule: &str) {
        self.invalid_value(at, at.value(), rule);
    }

    /// A part of what stands there breaks a rule, such as a key of a map.
    pub(crate) fn invalid_value(&mut self, at: &At<'_>, value: &Value, rule: &str) {
        self.push(at, FieldErrorReason::Invalid, format!("{value}: {rule}"));
    }

    /// A value, which is shown as this text, breaks a rule.
    pub(crate) fn invalid_shown(&mut self, at: &At<'_>, shown: &str, rule: &str) {
        self.push(at, FieldErrorReason::Invalid, format!("{shown}: {rule}"));
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what was found elsewhere, but for what `known` has, too.
    pub(crate) fn add_news(&mut self, found: Faults, known: &Faults) {
        let is_known = |fault: &FieldError| known.0.iter().any(|it| it.message == fault.message);
        self.0
            .extend(found.0.into_iter().filter(|it| !is_known(it)));
    }

    /// A value is not among those that exist.
    pub(crate) fn not_supported(&mut self, at: &At<'_>, supported: &[&str]) {
        let list: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message = format!("{}: supported values: {}", at.value(), list.join(", "));
        self.push(at, FieldErrorReason::NotSupported, message);
    }

    /// A value occurs a second time.
    pub(crate) fn duplicate(&mut self, at: &At<'_>) {
        self.push(at, FieldErrorReason::Duplicate, at.value().to_string());
    }

    /// A value names something that is not there.
    pub(crate) fn not_found(&mut self, at: &At<'_>) {
        self.push(at, FieldErrorReason::NotFound, at.value().to_string());
    }

    /// A value may not stand here, or not be changed.
    pub(crate) fn forbidden(&mut self, at: &At<'_>, why: &str) {
        self.push(at, FieldErrorReason::Forbidden, why.to_owned());
    }

    /// All that was found, in the order of the rules.
    pub(crate) fn into_list(self) -> Vec<FieldError> {
        self.0
    }
}

#[cfg(test)]
impl Faults {
    /// The paths at fault, for tests.
    pub(crate) fn paths(faults: &[FieldError]) -> Vec<&str> {
        faults.iter().map(|fault| fault.field.as_str()).collect()
    }
}
