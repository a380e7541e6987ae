//! Who may use the node's server: pure.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Name by which the API server calls nodes.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
/// Group that may do all.
const MASTERS: &str = "system:masters";

/// The subject of a client's certificate; empty for a client without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Common name.
    pub name: String,
    /// Organisations.
    pub groups: Vec<String>,
}

/// What an answer to a caller depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Say who you are.
    Unauthenticated,
    /// Known, and not allowed.
    Forbid,
}

impl Caller {
    /// Reads the subject of the leaf certificate, which TLS has verified.
    pub fn from_certificates(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let leaf = chain.and_then(|chain| chain.first());
        let parsed = leaf.and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let Some((_, certificate)) = parsed else {
            return Self::default();
        };
        let subject = certificate.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute
                .as_str()
                .map(ToOwned::to_owned)
                .unwrap_or_default()
        };
        Self {
            name: subject
                .iter_common_name()
                .next()
                .map(text)
                .unwrap_or_default(),
            groups: subject.iter_organization().map(text).collect(),
        }
    }

    /// Whether the caller may use `path`.
    pub fn may_use(&self, path: &str) -> Verdict {
        if path == "/healthz" {
            return Verdict::Allow;
        }
        let trusted = self.name == API_SERVER || self.groups.iter().any(|group| group == MASTERS);
        match trusted {
            true => Verdict::Allow,
            false if self.name.is_empty() && self.groups.is_empty() => Verdict::Unauthenticated,
            false => Verdict::Forbid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, groups: &[&str]) -> Caller {
        Caller {
            name: name.into(),
            groups: groups.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn only_the_api_server_and_masters_get_in() {
        for (caller, verdict) in [
            (caller(API_SERVER, &[]), Verdict::Allow),
            (caller("admin", &[MASTERS]), Verdict::Allow),
            (caller("system:node:a", &["system:nodes"]), Verdict::Forbid),
            (Caller::default(), Verdict::Unauthenticated),
        ] {
            assert_eq!(caller.may_use("/exec/a/b/c"), verdict);
            assert_eq!(caller.may_use("/healthz"), Verdict::Allow);
        }
    }
}
