//! Encryption at rest: the outermost back end, where values become what is stored.
//!
//! It stands in front of the journal, so that neither the journal nor the database ever holds what it
//! seals; in memory objects are plain. Everything is read when the store is opened, and what is not
//! sealed as it would be today (plain, or by an older key) is sealed anew then, under the revision
//! that it has: after one start with a new first key the old one is needed by nobody. What cannot be
//! opened stops the start and stays as it is.

mod config;
mod key;

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
        let rule = self.encryption.of(resource);
        let mut stale = Vec::new();
        self.inner.scan(resource, &mut |row| {
            let opened = open(rule, resource, &row)?;
            let json = opened.as_deref().unwrap_or(row.json);
            if is_stale(rule, row.json) {
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

/// The change with its value as it is stored.
fn seal(encryption: &Encryption, change: &RowChange) -> Result<RowChange, BackendError> {
    let writer = encryption.of(&change.resource).and_then(Rule::writer);
    let (Some(writer), Some(json)) = (writer, &change.json) else {
        return Ok(change.clone());
    };
    let sealed = writer.seal(&place(&change.resource, &change.key), json);
    Ok(RowChange {
        json: Some(sealed.map_err(|_| BackendError::Random)?),
        ..change.clone()
    })
}

/// What a row holds; none if it is not sealed.
fn open(
    rule: Option<&Rule>,
    resource: &str,
    row: &Row<'_>,
) -> Result<Option<Vec<u8>>, BackendError> {
    let place = || place(resource, row.key);
    let (name, sealed) = match key::form(row.json) {
        Form::Plain => return Ok(None),
        Form::Sealed(name, sealed) => (name, sealed),
        Form::Foreign(by) => return Err(BackendError::Locked { row: place(), by }),
    };
    let key = rule.and_then(|rule| rule.keys.iter().find(|key| key.name == name));
    let Some(key) = key else {
        let by = name.to_owned();
        return Err(BackendError::Locked { row: place(), by });
    };
    let opened = key.open(&place(), sealed);
    let by = name.to_owned();
    opened
        .map(Some)
        .ok_or_else(|| BackendError::Sealed { row: place(), by })
}

/// Whether a value would be stored in another form today.
fn is_stale(rule: Option<&Rule>, value: &[u8]) -> bool {
    rule.is_some_and(|rule| match (rule.writer(), key::form(value)) {
        (Some(writer), Form::Sealed(name, _)) => writer.name != name,
        (Some(_), _) | (None, Form::Sealed(..)) => true,
        (None, _) => false,
    })
}

/// The place of a row, which is authenticated with its value.
fn place(resource: &str, key: &str) -> String {
    format!("{resource}|{key}")
}

#[cfg(test)]
mod tests;
