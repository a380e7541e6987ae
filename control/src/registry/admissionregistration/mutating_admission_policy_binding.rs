//! MutatingAdmissionPolicyBinding: where a policy holds, with which parameters.

use super::validating_admission_policy_binding as validating;
use crate::registry::kind::Kind;
use crate::registry::rules::{At, Faults};

/// MutatingAdmissionPolicyBinding of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    validate: |new, _| {
        let mut faults = Faults::default();
        validating::binding(&At::root(new).get("spec"), &mut faults);
        faults.into_list()
    },
    ..validating::KIND
};
