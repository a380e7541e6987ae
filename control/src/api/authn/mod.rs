//! Who asks: client certificates, front proxies, bearer tokens, and callers inside the process.
//!
//! One file per way of being known; each makes a [`User`] or knows nothing. What a caller wants to
//! be beyond that (`impersonation`) is asked of authorization, part by part.

pub(super) mod bootstrap;
mod extra;
mod file;
mod front;
mod impersonation;
mod oidc;
mod user;

use std::net::SocketAddr;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};

pub(super) use extra::header as extra_header;
pub use file::StaticTokens;
pub(super) use front::{Caller, Fronted};
pub(super) use impersonation::{PREFIX as IMPERSONATION, impersonate};
pub use oidc::{Oidc, OidcConfig, OidcError};
pub(super) use user::CREDENTIAL;
pub use user::{Extra, User};

/// The caller of this connection as TLS or the process itself proved it. Set by the listener and by
/// in-process clients only; nothing that arrives over the network can make one.
#[derive(Debug, Clone)]
pub(super) struct Proven(pub User);

/// The other end of a connection, for the audit log. Set by the listener only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a request says about its caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim<'a> {
    /// Nothing.
    Nothing,
    /// Who he is, by what has been proven already.
    User(User),
    /// That he has this token; whose it is has to be found out.
    Token(&'a str),
}

impl<'a> Claim<'a> {
    /// What the connection and the headers of a request say.
    pub(super) fn of(extensions: &Extensions, headers: &'a HeaderMap) -> Self {
        if let Some(Proven(user)) = extensions.get() {
            return Claim::User(user.clone());
        }
        let fronted = extensions.get::<Fronted>();
        if let Some(user) = fronted.and_then(|_| front::on_behalf(headers)) {
            return Claim::User(user);
        }
        bearer(headers).map_or(Claim::Nothing, Claim::Token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_front_proxy_speaks_for_others() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", "jane".parse().unwrap());
        let (plain, mut fronted) = (Extensions::new(), Extensions::new());
        assert_eq!(Claim::of(&plain, &headers), Claim::Nothing);
        fronted.insert(Fronted);
        let said = Claim::of(&fronted, &headers);
        assert!(matches!(said, Claim::User(jane) if jane.name == "jane"));
        assert_eq!(Claim::of(&fronted, &HeaderMap::new()), Claim::Nothing);
    }

    #[test]
    fn a_token_is_looked_at_only_where_nothing_is_proven() {
        let mut extensions = Extensions::new();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "bearer guess".parse().unwrap());
        assert_eq!(Claim::of(&extensions, &headers), Claim::Token("guess"));
        extensions.insert(Proven(User::anonymous()));
        let said = Claim::of(&extensions, &headers);
        assert_eq!(said, Claim::User(User::anonymous()));
        headers.insert(AUTHORIZATION, "basic guess".parse().unwrap());
        assert_eq!(Claim::of(&Extensions::new(), &headers), Claim::Nothing);
    }
}
