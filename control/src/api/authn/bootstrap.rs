//! Bootstrap tokens: who shows one is `system:bootstrap:ID`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::User;
use crate::api::value::{is_deleting, text};
use crate::pki::{BootstrapToken, TOKEN_TYPE, split_token};

/// The user who shows `token` at `now`; `find` answers a Secret of `kube-system` by name.
pub(in crate::api) fn user(
    token: &str,
    now: Timestamp,
    find: impl FnOnce(&str) -> Option<Value>,
) -> Option<User> {
    let (id, secret) = split_token(token)?;
    let name = BootstrapToken::name(id);
    let object = find(&name)?;
    if is_deleting(&object) || text(&object, "/type") != TOKEN_TYPE {
        return None;
    }
    let groups = read(&object).admits(id, secret, now);
    if groups.is_none() {
        tracing::debug!(secret = name, "a bootstrap token is refused");
    }
    Some(User::known(format!("system:bootstrap:{id}"), groups?))
}

fn read(object: &Value) -> BootstrapToken {
    BootstrapToken::read(|key| {
        let encoded = object.get("data")?.get(key)?.as_str()?;
        BASE64_STANDARD.decode(encoded).ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_secret_of_the_type_that_stays_makes_a_user() {
        let encoded = |text: &str| Value::from(BASE64_STANDARD.encode(text));
        let object = json!({"type": TOKEN_TYPE, "metadata": {}, "data": {
            "token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"),
            "usage-bootstrap-authentication": encoded("true")}});
        let ask = |object: &Value| {
            user("abcdef.0123456789abcdef", Timestamp::UNIX_EPOCH, |name| {
                (name == "bootstrap-token-abcdef").then(|| object.clone())
            })
        };
        let found = ask(&object).unwrap();
        assert_eq!(found.name, "system:bootstrap:abcdef");
        assert_eq!(
            found.groups,
            ["system:bootstrappers", "system:authenticated"]
        );
        let mut other = object.clone();
        other["type"] = "Opaque".into();
        assert_eq!(ask(&other), None);
        let mut going = object;
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(ask(&going), None);
    }
}
