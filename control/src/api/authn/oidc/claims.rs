//! What a verified token says about its owner, and whether it may say so. Pure.

use serde_json::Value;

use super::OidcConfig;
use crate::api::authn::User;
use crate::api::authn::user::{CREDENTIAL, one};

/// Seconds that a token may begin in the future, for clocks that disagree; its end is not moved.
const LAG: i64 = 300;

/// The user of a token with these claims at `now`, seconds since the epoch.
///
/// # Errors
/// Why he is not known.
pub(super) fn user(claims: &Value, config: &OidcConfig, now: i64) -> Result<User, String> {
    valid(claims, config, now)?;
    for (claim, wanted) in &config.required {
        match claims.get(claim) {
            None => return Err(format!("required claim {claim} not present in ID token")),
            Some(have) if have != wanted => {
                return Err(format!(
                    "required claim {claim} value does not match, got {have}, want {wanted:?}"
                ));
            }
            Some(_) => {}
        }
    }
    let name = name(claims, &config.username_claim)?;
    let groups = match &config.groups_claim {
        None => Vec::new(),
        Some(claim) => groups(claims, claim)?,
    };
    let groups = groups
        .into_iter()
        .map(|group| format!("{}{group}", config.groups_prefix));
    let mut user = User::known(format!("{}{name}", config.prefix()), groups);
    if let Some(id) = claims.get("jti").and_then(Value::as_str) {
        user.extra = one(CREDENTIAL, format!("JTI={id}"));
    }
    Ok(user)
}

/// Whether the token is for this cluster, and now.
fn valid(claims: &Value, config: &OidcConfig, now: i64) -> Result<(), String> {
    if claims.get("iss").and_then(Value::as_str) != Some(&config.issuer) {
        return Err("issued by another".to_owned());
    }
    let audience = claims.get("aud").unwrap_or(&Value::Null);
    let is_ours = |one: &Value| one.as_str() == Some(&config.client);
    let all = audience.as_array().map_or(&[][..], Vec::as_slice);
    if !is_ours(audience) && !all.iter().any(is_ours) {
        return Err(format!(
            "expected audience {:?} got {audience}",
            config.client
        ));
    }
    let time = |claim: &str| claims.get(claim).and_then(Value::as_f64);
    let (now, lag) = (now as f64, LAG as f64);
    match time("exp") {
        None => return Err("token has no end".to_owned()),
        Some(end) if end <= now => return Err("token is expired".to_owned()),
        Some(_) => {}
    }
    if claims.get("nbf").is_some_and(|value| !value.is_null())
        && time("nbf").is_none_or(|start| start > now + lag)
    {
        return Err("token is not valid yet".to_owned());
    }
    Ok(())
}

fn name<'a>(claims: &'a Value, claim: &str) -> Result<&'a str, String> {
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Null | Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err("email not verified".to_owned()),
            Some(_) => return Err("parse 'email_verified' claim: no boolean".to_owned()),
        }
    }
    let name = claims.get(claim).and_then(Value::as_str);
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| format!("parse username claims {claim:?}: no text"))
}

/// One group or a list of them.
fn groups(claims: &Value, claim: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("parse groups claim {claim:?}: neither a text nor a list of texts");
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(group)) => Ok(vec![group.clone()]),
        Some(Value::Array(groups)) => {
            let groups = groups.iter();
            let groups = groups.map(|group| group.as_str().map(str::to_owned));
            groups.collect::<Option<_>>().ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// An issuer for tests.
#[cfg(test)]
pub(super) fn sample() -> OidcConfig {
    OidcConfig {
        issuer: "https://issuer".to_owned(),
        client: "naru".to_owned(),
        username_claim: "sub".to_owned(),
        username_prefix: None,
        groups_claim: None,
        groups_prefix: String::new(),
        required: std::collections::BTreeMap::new(),
        algorithms: vec![jsonwebtoken::Algorithm::RS256],
        authority: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn claims(changes: Value) -> Value {
        let mut claims = json!({"iss": "https://issuer", "aud": "naru", "sub": "jane",
            "exp": NOW + 1, "nbf": NOW});
        for (key, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
                value => claims[key] = value.clone(),
            }
        }
        claims
    }

    fn ask(config: &OidcConfig, changes: Value) -> Result<User, String> {
        user(&claims(changes), config, NOW)
    }

    #[test]
    fn a_token_is_for_one_audience_and_one_time() {
        let config = sample();
        for good in [
            json!({}),
            json!({"aud": ["other", "naru"]}),
            json!({"nbf": NOW + LAG}),
            json!({"nbf": null}),
        ] {
            assert!(ask(&config, good.clone()).is_ok(), "{good}");
        }
        for (bad, why) in [
            (json!({"iss": "https://other"}), "issued by another"),
            (
                json!({"aud": "other"}),
                "expected audience \"naru\" got \"other\"",
            ),
            (json!({"aud": null}), "expected audience \"naru\" got null"),
            (
                json!({"aud": ["narus"]}),
                "expected audience \"naru\" got [\"narus\"]",
            ),
            (json!({"exp": NOW}), "token is expired"),
            (json!({"exp": null}), "token has no end"),
            (json!({"exp": "9999999999"}), "token has no end"),
            (json!({"nbf": NOW + LAG + 1}), "token is not valid yet"),
            (json!({"nbf": "soon"}), "token is not valid yet"),
        ] {
            assert_eq!(ask(&config, bad), Err(why.to_owned()));
        }
    }

    #[test]
    fn names_and_groups_are_told_from_others_by_their_prefix() {
        let mut config = sample();
        let name = |config: &OidcConfig| ask(config, json!({"email": "j@a.b"})).unwrap().name;
        assert_eq!(name(&config), "https://issuer#jane");
        config.username_prefix = Some("oidc:".into());
        assert_eq!(name(&config), "oidc:jane");
        config.username_prefix = Some("-".into());
        assert_eq!(name(&config), "jane");
        config.username_claim = "email".into();
        config.username_prefix = None;
        assert_eq!(name(&config), "j@a.b");

        config.groups_claim = Some("roles".into());
        config.groups_prefix = "oidc:".into();
        let roles = |roles: Value| ask(&config, json!({"email": "j@a.b", "roles": roles}));
        let found = roles(json!(["dev", "ops"])).unwrap();
        assert_eq!(
            found.groups,
            ["oidc:dev", "oidc:ops", "system:authenticated"]
        );
        let found = roles(json!("dev")).unwrap();
        assert_eq!(found.groups, ["oidc:dev", "system:authenticated"]);
        assert_eq!(roles(Value::Null).unwrap().groups, ["system:authenticated"]);
        for odd in [json!([1]), json!({"dev": true}), json!(7)] {
            assert!(roles(odd).unwrap_err().starts_with("parse groups claim"));
        }
    }

    #[test]
    fn an_email_that_is_not_verified_is_nobodys() {
        let config = OidcConfig {
            username_claim: "email".into(),
            ..sample()
        };
        let with = |verified: Value| {
            ask(
                &config,
                json!({"email": "j@a.b", "email_verified": verified}),
            )
            .map(|it| it.name)
        };
        assert_eq!(with(json!(true)), Ok("j@a.b".to_owned()));
        assert_eq!(with(Value::Null), Ok("j@a.b".to_owned()));
        assert_eq!(with(json!(false)), Err("email not verified".to_owned()));
        assert!(with(json!("true")).is_err());
        // Of other claims it says nothing.
        assert!(ask(&sample(), json!({"email_verified": false})).is_ok());
    }

    #[test]
    fn what_is_required_has_to_be_there_as_it_is() {
        let mut config = sample();
        config.required.insert("hd".into(), "example.org".into());
        assert_eq!(
            ask(&config, json!({})),
            Err("required claim hd not present in ID token".to_owned())
        );
        let why = ask(&config, json!({"hd": "example.com"})).unwrap_err();
        assert!(why.contains("does not match"), "{why}");
        let jane = ask(&config, json!({"hd": "example.org", "jti": "7"})).unwrap();
        assert_eq!(jane.extra[CREDENTIAL], ["JTI=7"]);
        assert!(ask(&sample(), json!({"sub": ""})).is_err());
        assert!(ask(&sample(), json!({"sub": 7})).is_err());
    }
}
