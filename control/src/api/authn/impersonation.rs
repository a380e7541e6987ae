//! Acting as another for one request: `kubectl --as`. Whatever is taken on, name, uid, each group and
//! each extra value, has to be permitted on its own.

use http::HeaderMap;

use super::user::{ANONYMOUS, KNOWN};
use super::{User, extra};
use crate::api::authz::{Attributes, UNKNOWN};
use crate::api::request::ResourcePath;
use crate::api::status::{Result, Status};
use crate::registry::rules::{is_dns_label, is_dns_subdomain};

/// The group of what identities are made of but names, groups and accounts.
const GROUP: &str = "authentication.k8s.io";
/// Headers that say whom a client wants to be begin like that.
pub(in crate::api) const PREFIX: &str = "impersonate-";
const EXTRA: &str = "impersonate-extra-";

/// The user that somebody wants to be for this request, if anybody else; `may` has permitted every
/// part of him.
///
/// # Errors
/// 403 for what is not permitted, 400 for parts of nobody.
pub(in crate::api) fn impersonate(
    may: &dyn Fn(Attributes<'_>) -> Result<()>,
    headers: &HeaderMap,
) -> Result<Option<User>> {
    let Some(mut wanted) = wanted(headers)? else {
        return Ok(None);
    };
    let account = account(&wanted.name).map(|(place, name)| (place.to_owned(), name.to_owned()));
    let who = match &account {
        Some((place, name)) => identity("", "serviceaccounts", Some(place), name),
        None => identity("", "users", None, &wanted.name),
    };
    may(Attributes::impersonation(&who))?;
    for group in &wanted.groups {
        may(Attributes::impersonation(&identity(
            "", "groups", None, group,
        )))?;
    }
    for (key, value) in pairs(&wanted) {
        let mut fact = identity(GROUP, "userextras", None, value);
        fact.subresource = Some(key.clone());
        may(Attributes::impersonation(&fact))?;
    }
    if !wanted.uid.is_empty() {
        let uid = identity(GROUP, "uids", None, &wanted.uid);
        may(Attributes::impersonation(&uid))?;
    }
    complete(
        &mut wanted,
        account.as_ref().map(|(place, _)| place.as_str()),
    );
    Ok(Some(wanted))
}

/// Whom the headers name, if anybody.
fn wanted(headers: &HeaderMap) -> Result<Option<User>> {
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok().map(str::to_owned))
    };
    let first = |name: &str| texts(name).next().unwrap_or_default();
    let user = User {
        name: first("impersonate-user"),
        uid: first("impersonate-uid"),
        groups: texts("impersonate-group").collect(),
        extra: extra::read(headers, EXTRA),
    };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    let asked = [
        (!user.uid.is_empty()).then_some("uid"),
        (!user.groups.is_empty()).then_some("groups"),
        (!user.extra.is_empty()).then_some("extra"),
    ];
    let asked: Vec<&str> = asked.into_iter().flatten().collect();
    Err(Status::bad_request(format!(
        "requested {asked:?} without impersonating a user"
    )))
}

/// The groups that come with a name.
fn complete(user: &mut User, account: Option<&str>) {
    if let Some(place) = account.filter(|_| user.groups.is_empty()) {
        user.groups.push("system:serviceaccounts".to_owned());
        user.groups.push(format!("system:serviceaccounts:{place}"));
    }
    let known = user.name != ANONYMOUS;
    if known && !user.is_in(KNOWN) && !user.is_in(UNKNOWN) {
        user.groups.push(KNOWN.to_owned());
    }
    if !known && !user.is_in(UNKNOWN) {
        user.groups.push(UNKNOWN.to_owned());
    }
}

fn pairs(user: &User) -> impl Iterator<Item = (&String, &String)> {
    let facts = user.extra.iter();
    facts.flat_map(|(key, values)| values.iter().map(move |value| (key, value)))
}

/// Namespace and name of the service account that a user name is of.
fn account(name: &str) -> Option<(&str, &str)> {
    let (place, account) = name
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    (is_dns_label(place) && is_dns_subdomain(account)).then_some((place, account))
}

/// Something that one may want to be.
fn identity(group: &str, plural: &str, namespace: Option<&str>, name: &str) -> ResourcePath {
    ResourcePath {
        group: group.to_owned(),
        version: "v1".to_owned(),
        namespace: namespace.map(str::to_owned),
        plural: plural.to_owned(),
        name: Some(name.to_owned()),
        ..ResourcePath::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// What comes of `said` for somebody who may be what is in `granted`, as `resource name`.
    fn ask(said: &[(&'static str, &str)], granted: &[&str]) -> Result<User> {
        let may = |wish: Attributes<'_>| {
            let path = wish.resource.unwrap();
            let asked = format!("{} {}", path.resource(), path.name.as_deref().unwrap());
            let fits = wish.verb == "impersonate" && granted.contains(&asked.as_str());
            fits.then_some(()).ok_or_else(|| Status::forbidden(asked))
        };
        let admin = User {
            name: "admin".into(),
            ..User::default()
        };
        let acting = impersonate(&may, &headers(said))?;
        Ok(acting.unwrap_or(admin))
    }

    #[test]
    fn nobody_is_another_without_permission() {
        let jane = ("impersonate-user", "jane");
        let dev = ("impersonate-group", "dev");
        assert_eq!(ask(&[], &[]).unwrap().name, "admin");
        assert_eq!(ask(&[jane], &[]).unwrap_err().code, 403);
        assert_eq!(ask(&[jane, dev], &["users jane"]).unwrap_err().code, 403);
        let found = ask(&[jane, dev], &["users jane", "groups dev"]).unwrap();
        assert_eq!(
            (found.name.as_str(), found.groups),
            ("jane", vec!["dev".into(), KNOWN.into()])
        );
    }

    #[test]
    fn groups_of_an_account_are_asked_for_like_any() {
        let robot = ("impersonate-user", "system:serviceaccount:shop:robot");
        let masters = ("impersonate-group", "system:masters");
        let granted = ["serviceaccounts robot"];
        let found = ask(&[robot], &granted).unwrap();
        assert_eq!(
            found.groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:shop",
                KNOWN
            ]
        );
        assert_eq!(ask(&[robot, masters], &granted).unwrap_err().code, 403);
        // What only looks like an account is a user.
        let odd = ("impersonate-user", "system:serviceaccount:robot");
        let why = ask(&[odd], &granted).unwrap_err();
        assert!(why.message.starts_with("users "), "{}", why.message);
    }

    #[test]
    fn uid_and_each_extra_value_are_asked_for() {
        let said = [
            ("impersonate-user", "jane"),
            ("impersonate-uid", "u-1"),
            ("impersonate-extra-scopes", "read"),
            ("impersonate-extra-scopes", "write"),
            ("impersonate-extra-a.b%2fc", "d"),
        ];
        let all = [
            "users jane",
            "uids u-1",
            "userextras/scopes read",
            "userextras/scopes write",
            "userextras/a.b/c d",
        ];
        let jane = ask(&said, &all).unwrap();
        assert_eq!(jane.uid, "u-1");
        assert_eq!(jane.extra["scopes"], ["read", "write"]);
        assert_eq!(jane.extra["a.b/c"], ["d"]);
        for missing in all {
            let but_one: Vec<&str> = all.into_iter().filter(|it| *it != missing).collect();
            let why = ask(&said, &but_one).unwrap_err();
            assert_eq!((why.code.as_u16(), why.message.as_str()), (403, missing));
        }
    }

    #[test]
    fn parts_of_nobody_are_refused_by_name() {
        for (header, part) in [
            ("impersonate-group", "groups"),
            ("impersonate-uid", "uid"),
            ("impersonate-extra-scopes", "extra"),
        ] {
            let why = ask(&[(header, "x")], &[]).unwrap_err();
            let wanted = format!("requested [{part:?}] without impersonating a user");
            assert_eq!((why.code.as_u16(), why.message), (400, wanted));
        }
    }

    #[test]
    fn nobody_in_particular_stays_unknown() {
        let nobody = ask(
            &[("impersonate-user", ANONYMOUS)],
            &["users system:anonymous"],
        )
        .unwrap();
        assert_eq!(nobody, User::anonymous());
    }
}
