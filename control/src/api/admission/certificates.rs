//! CertificateSigningRequests: who asks for a certificate is for the server to say.

use serde_json::Value;

use crate::api::authn::User;
use crate::api::kinds::Target;
use crate::api::value::object;

const GROUP: &str = "certificates.k8s.io";
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
