//! One write as admission sees it.

use parking_lot::Mutex;

use crate::api::audit::Trail;
use crate::api::authn::User;
use crate::api::kinds::Target;
use crate::measure::{Amounts, amounts};

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
    charged: Mutex<Amounts>,
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
            charged: Mutex::default(),
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

    /// Of what a write uses up, what it was not charged for yet: one that meets a faster writer comes
    /// back with the next version of the object.
    pub(super) fn uncharged(&self, mut usage: Amounts) -> Amounts {
        for (name, amount) in self.charged.lock().iter() {
            if let Some(usage) = usage.get_mut(name) {
                *usage = *usage - *amount;
            }
        }
        usage.retain(|_, amount| !amount.is_negative() && !amount.is_zero());
        usage
    }

    /// Remembers what the write was charged for.
    pub(super) fn note_charged(&self, usage: &Amounts) {
        amounts::add(&mut self.charged.lock(), usage);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    #[test]
    fn a_write_that_comes_back_is_charged_for_the_rest() {
        let request = Request::own(Kinds(KINDS).of("", "pods").unwrap());
        let cpu = |cpu: &str| Amounts::from([("cpu".to_owned(), cpu.parse().unwrap())]);
        assert_eq!(request.uncharged(cpu("2")), cpu("2"));
        request.note_charged(&cpu("2"));
        assert!(request.uncharged(cpu("2")).is_empty());
        assert_eq!(request.uncharged(cpu("3")), cpu("1"));
    }
}
