//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions that objects have to fulfil, or
//! that change them, where a binding says so.
//!
//! `index` keeps the policies of either kind where they hold, compiled by the first write after one
//! of them or of their bindings has changed. `policy` is what both kinds have in common, `binding`
//! where one holds and with which parameters, `scene` what the expressions see of a write;
//! `validating` and `mutating` are what policies do then, `notes` what they tell the audit log. All that expressions of one policy cost for
//! one write comes from one budget.

mod binding;
mod index;
mod mutating;
mod notes;
mod policy;
mod scene;
mod validating;

use self::index::Index;
use self::mutating::Mutations;
use self::validating::Validations;
use crate::api::kinds::Kinds;
use crate::api::server::Server;

/// The policies that hold somewhere.
pub(in crate::api) struct Policies {
    validating: Index<Validations>,
    mutating: Index<Mutations>,
}

impl Policies {
    /// No policies; those among `kinds` will be looked up.
    pub(in crate::api) fn new(kinds: &Kinds) -> Self {
        Self {
            validating: Index::new(
                kinds,
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
            ),
            mutating: Index::new(
                kinds,
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
            ),
        }
    }

    /// Whether no policy that checks objects holds anywhere.
    pub(super) fn never_check(&self, server: &Server) -> bool {
        self.validating.is_idle(server)
    }

    /// Whether no policy that changes objects holds anywhere.
    pub(super) fn never_mutate(&self, server: &Server) -> bool {
        self.mutating.is_idle(server)
    }
}
