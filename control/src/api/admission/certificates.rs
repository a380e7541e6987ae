//! CertificateSigningRequests: who asks for a certificate is for the server to say, and who approves
//! or signs one needs a right to that signer (`CertificateApproval`, `CertificateSigning`,
//! `CertificateSubjectRestriction`, and `NodeRestriction` for what nodes ask for).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::Request;
use crate::api::authn::User;
use crate::api::authz::{self, Attributes, MASTERS};
use crate::api::kinds::Target;
use crate::api::request::ResourcePath;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, object, text};
use crate::pki::CertificateRequest;

const GROUP: &str = "certificates.k8s.io";
/// The signer of clients, which may be anybody but those who may do all.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// The signers of nodes.
const KUBELET: [&str; 2] = [
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
];
/// The fields of `spec` that the server fills.
const FILLED: [&str; 4] = ["username", "uid", "groups", "extra"];

/// Writes into a new request who makes it, whatever it says itself.
pub(super) fn stamp(user: &User, target: Target, new: &mut Value) {
    if !is_request(target) {
        return;
    }
    let spec = object(new, "spec");
    FILLED.iter().for_each(|field| drop(spec.remove(*field)));
    if let Ok(Value::Object(who)) = serde_json::to_value(user) {
        spec.extend(who);
    }
}

fn is_request(target: Target) -> bool {
    (target.kind.group, target.kind.plural) == (GROUP, "certificatesigningrequests")
}

/// Checks a request that is made, approved or signed.
///
/// # Errors
/// 403 for a subject that is not to be had, and for who has no right to the signer.
pub(super) fn check(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    let (Some(user), true) = (request.user, is_request(target)) else {
        return Ok(());
    };
    let why = match (request.subresource, old) {
        ("", None) => subject(user, new),
        ("approval", Some(old)) => right(server, user, "approve", old),
        ("status", Some(old)) if old.get("status") != new.get("status") => {
            right(server, user, "sign", old)
        }
        _ => None,
    };
    match why {
        None => Ok(()),
        Some(why) => Err(Status::forbidden_object(target.kind, called(new), &why)),
    }
}

/// What is wrong with whom a new request asks for.
fn subject(user: &User, new: &Value) -> Option<String> {
    let signer = text(new, "/spec/signerName");
    let node = authz::node_name(user).filter(|_| KUBELET.contains(&signer));
    if signer != CLIENT && node.is_none() {
        return None;
    }
    let pem = BASE64_STANDARD.decode(text(new, "/spec/request"));
    let read = match CertificateRequest::from_pem(&pem.unwrap_or_default()) {
        Ok(read) => read,
        Err(error) => return Some(format!("unable to parse csr: {error}")),
    };
    if signer == CLIENT && read.organizations().contains(&MASTERS) {
        let why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is \
                   not allowed";
        return Some(why.to_owned());
    }
    let foreign = node.is_some() && read.common_name() != user.name;
    foreign.then(|| format!("can only create a node CSR with CN={}", user.name))
}

/// What stands against `user` doing this for the signer of a request: a right to the signer, or to
/// all of its domain, is needed.
fn right(server: &Server, user: &User, verb: &str, request: &Value) -> Option<String> {
    let signer = text(request, "/spec/signerName");
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let may = |name: &str| {
        let path = ResourcePath {
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            plural: "signers".to_owned(),
            name: Some(name.to_owned()),
            ..ResourcePath::default()
        };
        let wish = Attributes {
            verb,
            path: "",
            resource: Some(&path),
        };
        authz::allows(user, wish, server)
    };
    let permitted = may(signer) || may(&format!("{domain}/*"));
    (!permitted)
        .then(|| format!("user not permitted to {verb} requests with signerName {signer:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    #[test]
    fn a_request_says_who_made_it_and_nobody_else() {
        let target = |group: &str, plural: &str| Kinds(KINDS).of(group, plural).unwrap();
        let jane = User {
            name: "jane".into(),
            groups: vec!["dev".into()],
            ..User::default()
        };
        let claimed = json!({"spec": {"request": "x", "username": "root", "uid": "0",
            "groups": ["system:masters"], "extra": {"a": ["b"]}}});
        let mut request = claimed.clone();
        stamp(
            &jane,
            target(GROUP, "certificatesigningrequests"),
            &mut request,
        );
        assert_eq!(
            request["spec"],
            json!({"request": "x", "username": "jane", "groups": ["dev"]})
        );
        let mut other = claimed.clone();
        stamp(&jane, target("", "pods"), &mut other);
        assert_eq!(other, claimed);
    }
}
