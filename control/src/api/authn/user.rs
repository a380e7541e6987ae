//! A caller, as everything behind authentication knows him.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The group of those who are known.
pub(in crate::api) const KNOWN: &str = "system:authenticated";
/// The name of those who do not say who they are.
pub(super) const ANONYMOUS: &str = "system:anonymous";
/// The key of what a caller has proven himself by.
pub(in crate::api) const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
/// The attribute of a certificate's subject that holds a uid, as Kubernetes has registered it.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// What else an authenticator knows of somebody, by key; shared, since a user is copied for each of
/// his requests.
pub type Extra = Arc<BTreeMap<String, Vec<String>>>;

/// A known caller. Written as `UserInfo` of `authentication.k8s.io/v1`, which reviews, admission and
/// the audit log share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct User {
    /// Name, such as `system:node:n1`.
    #[serde(rename = "username", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What tells him from others who had the name before; often empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else is known.
    #[serde(skip_serializing_if = "is_empty")]
    pub extra: Extra,
}

fn is_empty(extra: &Extra) -> bool {
    extra.is_empty()
}

impl User {
    /// Somebody who does not say who he is.
    pub(in crate::api) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![crate::api::authz::UNKNOWN.to_owned()],
            ..Self::default()
        }
    }

    /// Somebody who has proven to be `name`, in these groups and that of everybody who is known.
    pub(in crate::api) fn known(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            name: name.into(),
            groups: groups.into_iter().chain([KNOWN.to_owned()]).collect(),
            ..Self::default()
        }
    }

    /// A service account, of whose token nothing is known.
    pub(in crate::api) fn account(namespace: &str, name: &str) -> Self {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
        Self::known(format!("system:serviceaccount:{namespace}:{name}"), groups)
    }

    /// Whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|have| have == group)
    }

    /// The user that a client certificate names: CN is the name, every O a group, and the attribute
    /// of Kubernetes for it the uid; none without a name, or with a uid that is empty or not one.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?;
        let groups = subject
            .iter_organization()
            .filter_map(|group| group.as_str().ok().map(str::to_owned));
        let uids = subject.iter_attributes();
        let mut uids = uids.filter(|attribute| attribute.attr_type().to_id_string() == UID);
        let uid = match (uids.next(), uids.next()) {
            (None, _) => String::new(),
            (Some(uid), None) => uid.as_str().ok().filter(|uid| !uid.is_empty())?.to_owned(),
            (Some(_), Some(_)) => return None,
        };
        let credential = format!("X509SHA256={}", hexadecimal(digest(&SHA256, der).as_ref()));
        Some(Self {
            uid,
            extra: one(CREDENTIAL, credential),
            ..Self::known(name, groups)
        })
    }
}

/// One value under one key.
pub(super) fn one(key: &str, value: String) -> Extra {
    Arc::new(BTreeMap::from([(key.to_owned(), vec![value])]))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use serde_json::json;

    use super::*;

    fn certificate(uids: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "dev");
        let arcs = UID.split('.').map(|arc| arc.parse().unwrap()).collect();
        for uid in uids {
            let kind = DnType::CustomDnType(Vec::clone(&arcs));
            params.distinguished_name.push(kind, *uid);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        made.der().to_vec()
    }

    #[test]
    fn a_certificate_says_who_and_by_which_credential() {
        let der = certificate(&[]);
        let jane = User::of_certificate(&der).unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", ""));
        assert_eq!(jane.groups, ["dev", KNOWN]);
        let print = digest(&SHA256, &der);
        let print: String = print
            .as_ref()
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect();
        let said = serde_json::to_value(&jane).unwrap();
        let extra = json!({CREDENTIAL: [format!("X509SHA256={print}")]});
        assert_eq!(
            said,
            json!({"username": "jane", "groups": ["dev", KNOWN], "extra": extra})
        );
    }

    #[test]
    fn a_certificate_may_hold_a_uid_but_not_an_empty_one() {
        let jane = User::of_certificate(&certificate(&["u-1"])).unwrap();
        assert_eq!(jane.uid, "u-1");
        assert_eq!(User::of_certificate(&certificate(&[""])), None);
        assert_eq!(User::of_certificate(b"junk"), None);
    }
}
