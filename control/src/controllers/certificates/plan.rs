//! What is to be done about a request for a certificate. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};

use super::signers::Signer;
use crate::pki::{CertificateRequest, LEAF_LIFE, Purpose};

/// The shortest life of a certificate, as in Kubernetes.
const SHORTEST: Duration = Duration::from_secs(600);
/// How long the answer to a request is kept.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
/// How long a request without an answer is kept.
const WAITING: SignedDuration = SignedDuration::from_hours(24);

/// What comes next for a request.
#[derive(Debug)]
pub(super) enum Step {
    /// It is for others to decide or to sign, or done.
    Leave,
    /// To be approved if its maker may create this subresource of requests, each with what is said
    /// about the approval.
    Ask(Vec<(&'static str, &'static str)>),
    /// To be signed.
    Sign(Box<CertificateRequest>, Vec<Purpose>, Duration),
    /// Approved, but not to be signed for this reason.
    Fail(String),
    /// Too old to be kept.
    Remove,
}

/// What comes next, and when to look again at the latest.
pub(super) fn plan(
    request: &CertificateSigningRequest,
    now: Timestamp,
) -> (Step, Option<SignedDuration>) {
    let end = end(request);
    if end.is_some_and(|end| end <= now) {
        return (Step::Remove, None);
    }
    (next(request), end.map(|end| end.duration_since(now)))
}

fn next(request: &CertificateSigningRequest) -> Step {
    let Some(signer) = Signer::of(&request.spec.signer_name) else {
        return Step::Leave;
    };
    if is_issued(request) || condition(request, "Denied").is_some() {
        return Step::Leave;
    }
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    let read = CertificateRequest::from_pem(&request.spec.request.0);
    let read = read.map_err(|error| error.to_string());
    let judged = read.and_then(|read| Ok((signer.purposes(&read, usages)?, read)));
    let approved = condition(request, "Approved").is_some();
    match judged {
        _ if condition(request, "Failed").is_some() => Step::Leave,
        Ok((purposes, read)) if approved => Step::Sign(
            Box::new(read),
            purposes,
            life(request.spec.expiration_seconds),
        ),
        Err(why) if approved => Step::Fail(why),
        Ok((_, read)) if signer == Signer::NodeClient => Step::Ask(rights(request, &read)),
        _ => Step::Leave,
    }
}

/// By which rights a request for a node's client certificate is approved.
fn rights(
    request: &CertificateSigningRequest,
    read: &CertificateRequest,
) -> Vec<(&'static str, &'static str)> {
    let own = request.spec.username.as_deref() == Some(read.common_name());
    let own = own.then_some((
        "selfnodeclient",
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    ));
    let any = (
        "nodeclient",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    );
    own.into_iter().chain([any]).collect()
}

fn life(asked: Option<i32>) -> Duration {
    let asked = asked.and_then(|seconds| u64::try_from(seconds).ok());
    let asked = asked.map_or(LEAF_LIFE, Duration::from_secs);
    asked.clamp(SHORTEST, LEAF_LIFE)
}

/// When the request goes.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let made = request.metadata.creation_timestamp.as_ref()?.0;
    let since = |condition: &CertificateSigningRequestCondition| {
        let time = condition.last_update_time.as_ref();
        time.map_or(made, |time| time.0)
    };
    let answered = ["Denied", "Failed"].into_iter();
    let mut answered = answered.filter_map(|kind| condition(request, kind));
    if let Some(condition) = answered.next() {
        return Some(since(condition) + ANSWERED);
    }
    match condition(request, "Approved") {
        Some(condition) => is_issued(request).then(|| since(condition) + ANSWERED),
        None => Some(made + WAITING),
    }
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let status = request.status.as_ref();
    let certificate = status.and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|bytes| !bytes.0.is_empty())
}

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = request.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::{Value, json};

    use super::*;
    use crate::pki::request_tests::of_node;

    fn request(signer: &str, status: Value) -> CertificateSigningRequest {
        let pem = BASE64_STANDARD.encode(of_node("n1", &[]));
        serde_json::from_value(json!({
            "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": pem, "signerName": signer, "username": "system:node:n1",
                "usages": ["digital signature", "client auth"], "expirationSeconds": 60},
            "status": status,
        }))
        .unwrap()
    }

    const NODE: &str = "kubernetes.io/kube-apiserver-client-kubelet";

    fn conditions(kind: &str) -> Value {
        json!({"conditions": [{"type": kind, "status": "True",
            "lastUpdateTime": "2026-01-01T10:00:00Z"}]})
    }

    fn at(request: &CertificateSigningRequest, time: &str) -> Step {
        plan(request, time.parse().unwrap()).0
    }

    #[test]
    fn a_node_is_approved_by_right_and_signed_when_it_is() {
        let soon = "2026-01-01T10:30:00Z";
        let mut new = request(NODE, json!({}));
        let Step::Ask(rights) = at(&new, soon) else {
            panic!("its own node's request is not recognised");
        };
        let names = |rights: &[(&'static str, _)]| rights.iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(names(&rights), ["selfnodeclient", "nodeclient"]);
        new.spec.username = Some("system:bootstrap:abcdef".into());
        let Step::Ask(rights) = at(&new, soon) else {
            panic!("another's request is not recognised");
        };
        assert_eq!(names(&rights), ["nodeclient"]);
        let Step::Sign(read, purposes, life) = at(&request(NODE, conditions("Approved")), soon)
        else {
            panic!("it is not signed");
        };
        assert_eq!(read.common_name(), "system:node:n1");
        assert_eq!(purposes, [Purpose::Signature, Purpose::Client]);
        assert_eq!(life, SHORTEST);
    }

    #[test]
    fn others_requests_and_decided_ones_are_left_alone() {
        let soon = "2026-01-01T10:30:00Z";
        let serving = "kubernetes.io/kubelet-serving";
        for left in [
            request("example.org/mine", conditions("Approved")),
            request("kubernetes.io/kube-apiserver-client", json!({})),
            request(serving, json!({})),
            request(NODE, conditions("Denied")),
            request(NODE, conditions("Failed")),
            request(NODE, json!({"certificate": "AAAA"})),
        ] {
            assert!(matches!(at(&left, soon), Step::Leave), "{left:?}");
        }
        let wrong = request(serving, conditions("Approved"));
        let Step::Fail(why) = at(&wrong, soon) else {
            panic!("a client is signed as a server");
        };
        assert_eq!(why, "DNS or IP subjectAltName is required");
    }

    #[test]
    fn requests_are_kept_for_a_while() {
        let mut issued = conditions("Approved");
        issued["certificate"] = "AAAA".into();
        let issued = request(NODE, issued);
        let denied = request(NODE, conditions("Denied"));
        for answered in [&issued, &denied] {
            assert!(matches!(at(answered, "2026-01-01T10:59:59Z"), Step::Leave));
            assert!(matches!(at(answered, "2026-01-01T11:00:00Z"), Step::Remove));
        }
        let waiting = request(NODE, json!({}));
        assert!(matches!(at(&waiting, "2026-01-01T23:59:59Z"), Step::Ask(_)));
        assert!(matches!(at(&waiting, "2026-01-02T00:00:00Z"), Step::Remove));
        let approved = request("example.org/mine", conditions("Approved"));
        assert!(matches!(at(&approved, "2027-01-01T00:00:00Z"), Step::Leave));
    }
}
