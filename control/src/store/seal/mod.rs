//! Encryption at rest: the outermost back end, where values become what is stored.
//!
//! It stands in front of the journal, so that neither the journal nor the database ever holds what it
//! seals; in memory objects are plain. Everything is read when the store is opened, and what is not
//! sealed as it would be today (plain, or by an older key) is sealed anew then, under the revision
//! that it has: after one start with a new first key the old one is needed by nobody. What cannot be
//! opened stops the start and stays as it is.

mod config;
mod key;

use bytes::Bytes;

use super::backend::{Backend, BackendError, Row, RowChange};
use config::Rule;
pub use config::{Encryption, EncryptionError};
use key::Form;

/// Rows that are sealed anew together.
const BATCH: usize = 256;

/// A back end that seals values on their way in and opens them on their way out.
pub(super) struct Sealed<B> {
    inner: B,
    encryption: Encryption,
}

impl<B: Backend> Sealed<B> {
    /// Seals what goes into `inner`.
    pub(super) fn new(inner: B, encryption: Encryption) -> Self {
        Self { inner, encryption }
    }

    /// Seals rows anew. That they stay as they are for now is no reason not to serve them.
    fn renew(&mut self, resource: &str, stale: &[RowChange]) -> Result<(), BackendError> {
        let revision = self.inner.revision()?;
        for batch in stale.chunks(BATCH) {
            if let Err(error) = self.commit(revision, batch) {
                tracing::warn!(%error, resource, "objects stay as they were encrypted before");
                return Ok(());
            }
        }
        if !stale.is_empty() {
            tracing::info!(resource, rows = stale.len(), "stored anew as configured");
        }
        Ok(())
    }
}

impl<B: Backend> Backend for Sealed<B> {
    fn revision(&mut self) -> Result<u64, BackendError> {
        self.inner.revision()
    }

    fn last_change(&mut self, resource: &str) -> Result<u64, BackendError> {
        self.inner.last_change(resource)
    }

    fn scan(
        &mut self,
        resource: &str,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let encryption = self.encryption.clone();
        let mut stale = Vec::new();
        self.inner.scan(resource, &mut |row| {
            let opened = encryption.open(resource, row.key, row.json)?;
            let json = opened.as_deref().unwrap_or(row.json);
            if encryption.is_stale(resource, row.json) {
                stale.push(RowChange {
                    resource: resource.into(),
                    key: row.key.into(),
                    revision: row.revision,
                    json: Some(json.to_vec().into()),
                });
            }
            each(Row { json, ..row })
        })?;
        self.renew(resource, &stale)
    }

    fn commit(&mut self, revision: u64, changes: &[RowChange]) -> Result<(), BackendError> {
        if self.encryption.is_off() {
            return self.inner.commit(revision, changes);
        }
        let changes = changes.iter().map(|change| seal(&self.encryption, change));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        self.inner.commit(revision, &changes)
    }
}

impl Encryption {
    /// The value of a row as it is stored.
    pub(super) fn seal(
        &self,
        resource: &str,
        key: &str,
        json: Bytes,
    ) -> Result<Bytes, BackendError> {
        let Some(writer) = self.of(resource).and_then(Rule::writer) else {
            return Ok(json);
        };
        let sealed = writer.seal(&place(resource, key), &json);
        sealed.map_err(|_| BackendError::Random)
    }

    /// What a row holds; none if it is not sealed.
    pub(super) fn open(
        &self,
        resource: &str,
        key: &str,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, BackendError> {
        let row = || place(resource, key);
        let (name, sealed) = match key::form(value) {
            Form::Plain => return Ok(None),
            Form::Sealed(name, sealed) => (name, sealed),
            Form::Foreign(by) => return Err(BackendError::Locked { row: row(), by }),
        };
        let rule = self.of(resource);
        let known = rule.and_then(|rule| rule.keys.iter().find(|key| key.name == name));
        let Some(known) = known else {
            let by = name.to_owned();
            return Err(BackendError::Locked { row: row(), by });
        };
        let opened = known.open(&row(), sealed);
        let by = name.to_owned();
        opened
            .map(Some)
            .ok_or_else(|| BackendError::Sealed { row: row(), by })
    }

    /// Whether a value would be stored in another form today.
    pub(super) fn is_stale(&self, resource: &str, value: &[u8]) -> bool {
        self.of(resource).is_some_and(|rule| is_stale(rule, value))
    }
}

/// The change with its value as it is stored.
fn seal(encryption: &Encryption, change: &RowChange) -> Result<RowChange, BackendError> {
    let json = change.json.clone();
    let json = json.map(|json| encryption.seal(&change.resource, &change.key, json));
    Ok(RowChange {
        json: json.transpose()?,
        ..change.clone()
    })
}

fn is_stale(rule: &Rule, value: &[u8]) -> bool {
    match (rule.writer(), key::form(value)) {
        (Some(writer), Form::Sealed(name, _)) => writer.name != name,
        (Some(_), _) | (None, Form::Sealed(..)) => true,
        (None, _) => false,
    }
}

/// The place of a row, which is authenticated with its value.
fn place(resource: &str, key: &str) -> String {
    format!("{resource}|{key}")
}

#[cfg(test)]
mod tests;
