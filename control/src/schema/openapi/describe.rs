//! Short descriptions of kinds and fields, in our own words.
//!
//! `descriptions.txt` has a line per definition (`Pod: …`), per field (`PodSpec.containers: …`) or
//! per field of any definition (`*.name: …`). What is not there has no description.

use std::collections::HashMap;

use crate::schema::table::Definition;

/// The text of all descriptions.
pub(super) const SOURCE: &str = include_str!("descriptions.txt");

/// The descriptions by what they describe.
pub(super) struct Descriptions(HashMap<&'static str, &'static str>);

impl Descriptions {
    /// Reads them; they are needed only while a document is made.
    pub(super) fn load() -> Descriptions {
        let lines = SOURCE.lines().filter(|line| !line.starts_with('#'));
        Descriptions(lines.filter_map(|line| line.split_once(": ")).collect())
    }

    /// What a definition is.
    pub(super) fn of_definition(&self, definition: &Definition) -> Option<&'static str> {
        self.0.get(short_name(definition)).copied()
    }

    /// What a field is, by its definition or in general.
    pub(super) fn of_field(&self, definition: &Definition, field: &str) -> Option<&'static str> {
        let exact = format!("{}.{field}", short_name(definition));
        let general = || self.0.get(format!("*.{field}").as_str());
        self.0.get(exact.as_str()).or_else(general).copied()
    }

    #[cfg(test)]
    pub(super) fn subjects(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

/// The last part of a definition's name.
pub(super) fn short_name(definition: &Definition) -> &'static str {
    definition.name.rsplit('.').next().unwrap_or_default()
}
