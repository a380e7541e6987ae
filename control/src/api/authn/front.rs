//! Front proxies: servers that have asked who a caller is and say so in headers. They are believed
//! because of whose certificate they show.

use http::HeaderMap;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::user::{ANONYMOUS, KNOWN};
use super::{User, extra};
use crate::api::FRONT_PROXY;
use crate::api::authz::UNKNOWN;

/// A connection of a front proxy, whose requests say for whom they are. Set by the listener only.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Fronted;

/// Who a connection is from, by the certificates that it has shown and TLS has verified.
#[derive(Debug, Clone)]
pub(in crate::api) enum Caller {
    /// A user.
    User(User),
    /// A front proxy.
    Front,
}

impl Caller {
    /// `front` is the authority of front proxies, DER: whatever hangs from it is a front proxy of the
    /// known name or nobody, never the user that it names.
    pub(in crate::api) fn of(chain: &[impl AsRef<[u8]>], front: &[u8]) -> Option<Caller> {
        let leaf = chain.first()?.as_ref();
        let user = User::of_certificate(leaf)?;
        let mut chain = chain.iter();
        if chain.any(|certificate| is_signed(certificate.as_ref(), front)) {
            return (user.name == FRONT_PROXY).then_some(Caller::Front);
        }
        Some(Caller::User(user))
    }
}

fn is_signed(certificate: &[u8], authority: &[u8]) -> bool {
    let parse = |der| X509Certificate::from_der(der).ok().map(|(_, it)| it);
    let signed = |certificate: X509Certificate<'_>| {
        let key = parse(authority)?;
        certificate.verify_signature(Some(key.public_key())).ok()
    };
    parse(certificate).and_then(signed).is_some()
}

/// For whom a front proxy's request is, if it says so.
pub(super) fn on_behalf(headers: &HeaderMap) -> Option<User> {
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let name = texts("x-remote-user").next()?;
    if name == ANONYMOUS {
        return Some(User::anonymous());
    }
    let mut user = User {
        name,
        uid: texts("x-remote-uid").next().unwrap_or_default(),
        groups: texts("x-remote-group").collect(),
        extra: extra::read(headers, "x-remote-extra-"),
    };
    if !user.is_in(UNKNOWN) && !user.is_in(KNOWN) {
        user.groups.push(KNOWN.to_owned());
    }
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_from_the_front_proxys_authority_is_no_user() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| crate::pki::Authority::open(&dir.path().join(name)).unwrap();
        let (users, fronts) = (open("users"), open("fronts"));
        let der = |pem: &str| {
            x509_parser::pem::parse_x509_pem(pem.as_bytes())
                .unwrap()
                .1
                .contents
        };
        let front = der(fronts.certificate());
        let caller = |authority: &crate::pki::Authority, user: &str| {
            let subject = crate::pki::Subject {
                user: user.to_owned(),
                ..crate::pki::Subject::default()
            };
            let leaf = authority.sign(&subject).unwrap();
            Caller::of(&[der(&leaf.certificate)], &front)
        };
        assert!(matches!(caller(&users, "jane"), Some(Caller::User(jane)) if jane.name == "jane"));
        assert!(matches!(caller(&users, FRONT_PROXY), Some(Caller::User(_))));
        assert!(matches!(caller(&fronts, FRONT_PROXY), Some(Caller::Front)));
        assert!(caller(&fronts, "jane").is_none());
    }

    #[test]
    fn a_proxy_says_all_that_there_is_to_a_user() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-uid", "u-1"),
            ("x-remote-group", "dev"),
            ("x-remote-group", ""),
            ("x-remote-group", "ops"),
            ("x-remote-extra-scopes", "read"),
            ("x-remote-extra-scopes", "write"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let jane = on_behalf(&headers).unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "u-1"));
        assert_eq!(jane.groups, ["dev", "ops", KNOWN]);
        assert_eq!(jane.extra["scopes"], ["read", "write"]);
        assert_eq!(on_behalf(&HeaderMap::new()), None);
        headers.insert("x-remote-user", ANONYMOUS.parse().unwrap());
        assert_eq!(on_behalf(&headers), Some(User::anonymous()));
    }
}
