//! Who asks: client certificates, bearer tokens, and callers inside the process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authz::Attributes;
use super::request::ResourcePath;
use super::status::{Result, Status};

/// A known caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Name, such as `system:node:n1`.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// The name of those who do not say who they are.
const ANONYMOUS: &str = "system:anonymous";

impl User {
    /// Somebody who does not say who he is.
    pub(super) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![super::authz::UNKNOWN.to_owned()],
        }
    }

    /// Whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|have| have == group)
    }

    /// The user that a client certificate names: CN is the name, every O a group.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject
            .iter_organization()
            .filter_map(|group| group.as_str().ok());
        let groups = groups
            .map(str::to_owned)
            .chain(["system:authenticated".to_owned()]);
        Some(Self {
            name,
            groups: groups.collect(),
        })
    }
}

/// The caller of this connection as TLS or the process itself proved it. Set by the listener and by
/// in-process clients only; nothing that arrives over the network can make one.
#[derive(Debug, Clone)]
pub(super) struct Proven(pub User);

/// A connection of a front proxy, whose requests say for whom they are. Set by the listener only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fronted;

/// Who a connection is from, by the certificates that it has shown and TLS has verified.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A user.
    User(User),
    /// A front proxy.
    Front,
}

impl Caller {
    /// `front` is the authority of front proxies, DER: whatever hangs from it is a front proxy of the
    /// known name or nobody, never the user that it names.
    pub(super) fn of(chain: &[impl AsRef<[u8]>], front: &[u8]) -> Option<Caller> {
        let leaf = chain.first()?.as_ref();
        let user = User::of_certificate(leaf)?;
        let mut chain = chain.iter();
        if chain.any(|certificate| is_signed(certificate.as_ref(), front)) {
            return (user.name == super::FRONT_PROXY).then_some(Caller::Front);
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
fn on_behalf(headers: &HeaderMap) -> Option<User> {
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let name = texts("x-remote-user").next()?;
    let mut user = User {
        groups: texts("x-remote-group").collect(),
        name,
    };
    if user.name == ANONYMOUS {
        return Some(User::anonymous());
    }
    if !user.is_in(super::authz::UNKNOWN) && !user.is_in("system:authenticated") {
        user.groups.push("system:authenticated".to_owned());
    }
    Some(user)
}

/// The other end of a connection, for the audit log. Set by the listener only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

/// Tokens from a file of `token,user,uid,"group1,group2"` lines.
#[derive(Debug, Default)]
pub struct StaticTokens(HashMap<String, User>);

impl StaticTokens {
    /// Reads the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(path)?))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(token_line).collect())
    }

    /// The user of a token.
    pub(super) fn user(&self, token: &str) -> Option<User> {
        self.0.get(token).cloned()
    }
}

fn token_line(line: &str) -> Option<(String, User)> {
    let mut parts = line.splitn(4, ',');
    let (token, name) = (parts.next()?.trim(), parts.next()?.trim());
    let groups = parts.nth(1).unwrap_or_default().trim().trim_matches('"');
    let groups = groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty());
    let groups = groups
        .map(str::to_owned)
        .chain(["system:authenticated".to_owned()]);
    let user = User {
        name: name.to_owned(),
        groups: groups.collect(),
    };
    (!token.is_empty() && !name.is_empty()).then(|| (token.to_owned(), user))
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The caller of a request, or none if it says nothing about itself.
///
/// # Errors
/// 401 when it presents a token that nobody issued.
pub(super) fn authenticate(
    extensions: &Extensions,
    headers: &HeaderMap,
    tokens: &StaticTokens,
    verify: impl FnOnce(&str) -> Option<User>,
) -> Result<Option<User>> {
    if let Some(Proven(user)) = extensions.get() {
        return Ok(Some(user.clone()));
    }
    let fronted = extensions.get::<Fronted>().and_then(|_| on_behalf(headers));
    if fronted.is_some() {
        return Ok(fronted);
    }
    match bearer(headers) {
        None => Ok(None),
        Some(token) => {
            let user = tokens.user(token).or_else(|| verify(token));
            user.map(Some).ok_or_else(Status::unauthorized)
        }
    }
}

/// The user that `user` wants to be for this request: `kubectl --as`. Each name that he takes has to
/// be permitted by `may`.
///
/// # Errors
/// 403 for what is not permitted, 400 for groups of nobody.
pub(super) fn impersonate(
    user: &User,
    may: &dyn Fn(Attributes<'_>) -> Result<()>,
    headers: &HeaderMap,
) -> Result<User> {
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok().map(str::to_owned));
        texts.collect::<Vec<String>>()
    };
    let (name, mut groups) = (texts("impersonate-user").pop(), texts("impersonate-group"));
    let Some(name) = name else {
        if groups.is_empty() {
            return Ok(user.clone());
        }
        return Err(Status::bad_request(
            "Impersonate-Group needs Impersonate-User",
        ));
    };
    let account = name.strip_prefix("system:serviceaccount:");
    match account.and_then(|account| account.split_once(':')) {
        Some((namespace, account)) => {
            may(Attributes::impersonation(&identity(
                "serviceaccounts",
                Some(namespace),
                account,
            )))?;
            if groups.is_empty() {
                groups.push("system:serviceaccounts".to_owned());
                groups.push(format!("system:serviceaccounts:{namespace}"));
            }
        }
        None => may(Attributes::impersonation(&identity("users", None, &name)))?,
    }
    for group in groups.iter().filter(|_| account.is_none()) {
        may(Attributes::impersonation(&identity("groups", None, group)))?;
    }
    if name != ANONYMOUS {
        groups.push("system:authenticated".to_owned());
    }
    Ok(User { name, groups })
}

/// Somebody whom one may want to be.
fn identity(plural: &str, namespace: Option<&str>, name: &str) -> ResourcePath {
    ResourcePath {
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

    #[test]
    fn token_files_name_users_and_groups() {
        let tokens =
            StaticTokens::parse("# people\nabc,jane,1,\"dev,ops\"\nxyz,joe,2\n,nobody,3\n");
        let jane = tokens.user("abc").unwrap();
        assert_eq!(jane.name, "jane");
        assert!(jane.is_in("dev") && jane.is_in("ops") && jane.is_in("system:authenticated"));
        assert_eq!(tokens.user("xyz").unwrap().groups, ["system:authenticated"]);
        assert_eq!(tokens.user(""), None);
    }

    #[test]
    fn nobody_is_another_without_permission() {
        let admin = User {
            name: "admin".into(),
            groups: Vec::new(),
        };
        let users_only = |wish: Attributes<'_>| {
            let fits = wish.resource.is_some_and(|path| path.plural == "users");
            fits.then_some(()).ok_or_else(|| Status::forbidden("no"))
        };
        let mut headers = HeaderMap::new();
        let ask = |headers: &HeaderMap| impersonate(&admin, &users_only, headers);
        assert_eq!(ask(&headers).unwrap(), admin);
        headers.insert("impersonate-group", "dev".parse().unwrap());
        assert_eq!(ask(&headers).unwrap_err().code, 400);
        headers.insert("impersonate-user", "jane".parse().unwrap());
        assert_eq!(ask(&headers).unwrap_err().code, 403);
        headers.remove("impersonate-group");
        assert_eq!(ask(&headers).unwrap().name, "jane");
        let robot = "system:serviceaccount:shop:robot".parse().unwrap();
        headers.insert("impersonate-user", robot);
        assert_eq!(ask(&headers).unwrap_err().code, 403);
    }

    #[test]
    fn a_front_proxy_says_for_whom_it_asks_and_nobody_else_does() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", "jane".parse().unwrap());
        headers.append("x-remote-group", "dev".parse().unwrap());
        headers.append("x-remote-group", "ops".parse().unwrap());
        let tokens = StaticTokens::default();
        let ask = |extensions: &Extensions, headers: &HeaderMap| {
            authenticate(extensions, headers, &tokens, |_| None).unwrap()
        };
        let (plain, mut fronted) = (Extensions::new(), Extensions::new());
        assert_eq!(ask(&plain, &headers), None);
        fronted.insert(Fronted);
        let jane = ask(&fronted, &headers).unwrap();
        assert_eq!(jane.name, "jane");
        assert_eq!(jane.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(ask(&fronted, &HeaderMap::new()), None);
        headers.insert("x-remote-user", ANONYMOUS.parse().unwrap());
        assert_eq!(ask(&fronted, &headers), Some(User::anonymous()));
    }

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
        let known = super::super::FRONT_PROXY;
        assert!(matches!(caller(&users, known), Some(Caller::User(_))));
        assert!(matches!(caller(&fronts, known), Some(Caller::Front)));
        assert!(caller(&fronts, "jane").is_none());
    }

    #[test]
    fn an_unknown_token_is_refused_and_no_token_is_nobody() {
        let (tokens, extensions) = (StaticTokens::default(), Extensions::new());
        let mut headers = HeaderMap::new();
        let ask = |headers: &HeaderMap| authenticate(&extensions, headers, &tokens, |_| None);
        assert_eq!(ask(&headers).unwrap(), None);
        headers.insert(AUTHORIZATION, "Bearer guess".parse().unwrap());
        assert_eq!(ask(&headers).unwrap_err().code, 401);
    }
}
