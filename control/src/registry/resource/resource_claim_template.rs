//! ResourceClaimTemplate: a claim for each pod.

use super::claim_spec;
use crate::registry::kind::Kind;
use crate::registry::rules::{At, Faults, immutable};
use crate::registry::value::child;

/// ResourceClaimTemplate of resource.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    inert: true,
    default: |template| {
        if let Some(spec) = child(template, "spec")
            && let Some(spec) = child(spec, "spec")
        {
            claim_spec::set_defaults(spec);
        }
    },
    validate: |new, old| {
        let mut faults = Faults::default();
        let spec = At::root(new).get("spec");
        claim_spec::validate(&spec.get("spec"), &mut faults);
        if let Some(old) = old {
            immutable(&spec, &At::root(old).get("spec"), &mut faults);
        }
        faults.into_list()
    },
    returned: true,
    ..Kind::PLAIN
};
