//! MutatingWebhookConfiguration: servers that may change objects before they are stored.

use super::validating_webhook_configuration as validating;
use crate::registry::kind::Kind;
use crate::registry::value::{default_text, list_mut};

/// MutatingWebhookConfiguration of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    default: |object| {
        validating::set_defaults(object);
        for hook in list_mut(object, "/webhooks") {
            default_text(hook, "reinvocationPolicy", "Never");
        }
    },
    ..validating::KIND
};
