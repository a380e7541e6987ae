//! CertificateSigningRequest: a wish for a certificate, to be approved and signed.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::registry::age::{age, duration};
use crate::registry::column::{AGE, NAME, name, or_none, string};
use crate::registry::kind::{FieldError, Kind, NameForm};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, range, required};
use crate::registry::value::{child, default, int, list, put, text};

/// CertificateSigningRequest of certificates.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    names: NameForm::PathSegment,
    status: true,
    columns: &[
        NAME,
        AGE,
        string("SignerName"),
        string("Requestor"),
        string("RequestedDuration"),
        string("Condition"),
    ],
    cells: |request, now| {
        let asked = int(request, "/spec/expirationSeconds").map(duration);
        vec![
            name(request),
            age(request, now),
            text(request, "/spec/signerName").into(),
            text(request, "/spec/username").into(),
            or_none(asked.unwrap_or_default()),
            condition(request).into(),
        ]
    },
    default: |request| {
        if let Some(spec) = child(request, "spec") {
            default(
                spec,
                "usages",
                json!(["digital signature", "key encipherment"]),
            );
        }
    },
    prepare: |new, old| {
        prepare::status(new, old);
        match old {
            None => put(new, "status", Some(json!({}))),
            Some(old) => keep_requestor(new, old),
        }
    },
    validate,
    fields: &[("spec.signerName", |request| {
        text(request, "/spec/signerName").to_owned()
    })],
    ..Kind::PLAIN
};

/// Who asked stays what the server wrote at the creation; nobody has to repeat it.
fn keep_requestor(new: &mut Value, old: &Value) {
    if let Some(spec) = child(new, "spec") {
        for field in ["username", "uid", "groups", "extra"] {
            let kept = old.get("spec").and_then(|spec| spec.get(field)).cloned();
            put(spec, field, kept);
        }
    }
}

fn condition(request: &Value) -> String {
    let conditions = list(request, "/status/conditions").iter();
    let types: Vec<_> = conditions.map(|one| text(one, "/type")).collect();
    let mut words: Vec<&str> = ["Approved", "Denied", "Failed"]
        .into_iter()
        .filter(|word| types.contains(word))
        .collect();
    if words.is_empty() {
        words.push("Pending");
    }
    if !text(request, "/status/certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    if required(&spec.get("request"), &mut faults) && !is_request(spec.get("request").text()) {
        let why = "unable to parse: PEM block type must be CERTIFICATE REQUEST";
        faults.invalid_value(&spec.get("request"), &"".into(), why);
    }
    required(&spec.get("usages"), &mut faults);
    let signer = spec.get("signerName");
    if required(&signer, &mut faults)
        && !signer
            .text()
            .split_once('/')
            .is_some_and(|(domain, path)| domain.contains('.') && !path.is_empty())
    {
        faults.invalid(
            &signer,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    }
    range(
        &spec.get("expirationSeconds"),
        600..=i64::from(i32::MAX),
        &mut faults,
    );
    let conditions = At::root(new).dig(&["status", "conditions"]);
    let has = |wanted: &str| {
        conditions
            .each()
            .any(|one| one.get("type").text() == wanted)
    };
    if has("Approved") && has("Denied") {
        faults.invalid(
            &conditions,
            "Approved and Denied conditions are mutually exclusive",
        );
    }
    if let Some(old) = old {
        let old = At::root(old);
        immutable(&spec, &old.get("spec"), &mut faults);
        decided(&At::root(new), &old, &mut faults);
    }
    faults.into_list()
}

/// What has been decided or signed stays so.
fn decided(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let conditions = new.dig(&["status", "conditions"]);
    for kind in ["Approved", "Denied", "Failed"] {
        let has = |place: &At<'_>| place.each().any(|one| one.get("type").text() == kind);
        if has(&old.dig(&["status", "conditions"])) && !has(&conditions) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            faults.forbidden(&conditions, &why);
        }
    }
    let path = ["status", "certificate"];
    let (certificate, signed) = (new.dig(&path), old.dig(&path));
    if !signed.text().is_empty() && certificate.text() != signed.text() {
        let why = "updates may not modify existing certificate content";
        faults.forbidden(&certificate, why);
    }
}

/// Whether it is base64 of a PEM block that holds a request.
fn is_request(data: &str) -> bool {
    let pem = BASE64_STANDARD.decode(data).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    pem.contains("-----BEGIN CERTIFICATE REQUEST-----")
        && pem.contains("-----END CERTIFICATE REQUEST-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_one_and_names_its_signer() {
        let pem = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
        let request = |data: &str, signer: &str| {
            let mut request = json!({"spec": {"request": data, "signerName": signer}});
            (KIND.default)(&mut request);
            request
        };
        let good = request(&BASE64_STANDARD.encode(pem), "example.com/a");
        assert_eq!(validate(&good, None), []);
        let bad = request("AA==", "example");
        assert_eq!(
            Faults::paths(&validate(&bad, None)),
            ["spec.request", "spec.signerName"]
        );
        assert_eq!(condition(&good), "Pending");
    }

    #[test]
    fn what_is_decided_stays_decided() {
        let request = |status: Value| json!({"spec": {}, "status": status});
        let approved = json!({"conditions": [{"type": "Approved"}], "certificate": "AAAA"});
        let faults = |new: Value| {
            let (new, old) = (request(new), request(approved.clone()));
            let mut faults = Faults::default();
            decided(&At::root(&new), &At::root(&old), &mut faults);
            let faults = faults.into_list();
            let paths = faults.iter().map(|fault| fault.field.to_string());
            paths.collect::<Vec<_>>()
        };
        assert!(faults(approved.clone()).is_empty());
        assert_eq!(
            faults(json!({"certificate": "AAAB"})),
            ["status.conditions", "status.certificate"]
        );
    }
}
