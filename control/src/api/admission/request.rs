//! One write as admission sees it.

use parking_lot::Mutex;

use crate::api::audit::Trail;
use crate::api::authn::User;
use crate::api::kinds::Target;

/// Who writes what, and what the writer hears beside the answer.
pub(in crate::api) struct Request<'a> {
    /// Who writes; nobody where the server itself does, whom admission does not ask.
    pub(in crate::api) user: Option<&'a User>,
    /// The kind in the version that the writer uses.
    pub(in crate::api) target: Target,
    /// The subresource that is written, empty for the object itself.
    pub(in crate::api) subresource: &'a str,
    /// Whether everything is checked and nothing written.
    pub(in crate::api) dry: bool,
    told: Mutex<Vec<String>>,
    trail: Option<&'a Trail>,
}

impl<'a> Request<'a> {
    /// A write by `user`, of which `trail` remembers what is found out.
    pub(in crate::api) fn of(
        user: &'a User,
        target: Target,
        subresource: &'a str,
        dry: bool,
        trail: &'a Trail,
    ) -> Self {
        Self {
            user: Some(user),
            subresource,
            dry,
            trail: Some(trail),
            ..Self::own(target)
        }
    }

    /// A write by the server itself.
    pub(in crate::api) fn own(target: Target) -> Self {
        Self {
            user: None,
            target,
            subresource: "",
            dry: false,
            told: Mutex::default(),
            trail: None,
        }
    }

    /// The same for a part of the object that the path does not name.
    pub(in crate::api) fn of_part(self, subresource: &'a str) -> Self {
        Self {
            subresource,
            ..self
        }
    }

    /// Tells the writer something, once.
    pub(super) fn warn(&self, text: String) {
        let mut told = self.told.lock();
        if !told.contains(&text) {
            told.push(text);
        }
    }

    /// Leaves an annotation in the audit log.
    pub(super) fn note(&self, key: &str, text: impl FnOnce() -> String) {
        if let Some(trail) = self.trail {
            trail.note(key, text);
        }
    }

    /// Leaves an annotation that tells what was written, where the audit log keeps that.
    pub(super) fn note_content(&self, key: &str, text: impl FnOnce() -> String) {
        if let Some(trail) = self.trail {
            trail.note_content(key, text);
        }
    }

    /// `warnings` and what the writer was told beside.
    pub(in crate::api) fn warnings(&self, mut warnings: Vec<String>) -> Vec<String> {
        warnings.append(&mut self.told.lock());
        warnings
    }
}
