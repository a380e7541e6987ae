//! ID tokens of an OpenID Connect issuer, as `--oidc-…` of kube-apiserver has them.
//!
//! A token is of the issuer or none of this authenticator's business. The issuer's keys are fetched by
//! a task of their own (`keys`); until it has them, and while the issuer is away, its tokens are not
//! known, and nobody else waits. What a token says is judged by pure functions (`claims`).
//!
//! What it will not do: follow redirects or distributed claims, or know more than one issuer.

mod claims;
mod keys;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, decode_header};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::keys::Keys;
use super::User;

/// Longest token that is looked at, bytes.
const LONGEST: usize = 64 << 10;

/// What is known about the issuer and what its tokens have to say.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// `iss` of its tokens, and where it is: a URL of HTTPS.
    pub issuer: String,
    /// The audience that its tokens are for.
    pub client: String,
    /// The claim that is the user's name.
    pub username_claim: String,
    /// What stands before the name; none for the issuer and `#`, or nothing for emails; `-` for
    /// nothing.
    pub username_prefix: Option<String>,
    /// The claim that holds groups; none if users have none.
    pub groups_claim: Option<String>,
    /// What stands before each group.
    pub groups_prefix: String,
    /// Claims that have to be there with these values.
    pub required: BTreeMap<String, String>,
    /// Algorithms of signatures that count.
    pub algorithms: Vec<Algorithm>,
    /// Authorities of the issuer's certificate, PEM; empty for those that the machine trusts.
    pub authority: Vec<u8>,
}

impl OidcConfig {
    /// What stands before names.
    fn prefix(&self) -> String {
        match self.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if self.username_claim == "email" => String::new(),
            None => format!("{}#", self.issuer),
        }
    }
}

/// Why there is no such issuer.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The URL is none of HTTPS, or that of this cluster.
    #[error("OIDC issuer {url:?}: {why}")]
    Issuer {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The authorities cannot be read.
    #[error("OIDC authorities: {0}")]
    Authority(String),
}

/// An issuer whose tokens are known.
pub struct Oidc {
    config: OidcConfig,
    keys: Keys,
}

/// What is looked at before a token is verified.
#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

impl Oidc {
    /// An issuer; nothing is asked of it yet.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub fn new(config: OidcConfig) -> Result<Self, OidcError> {
        let wrong = |why: &str| OidcError::Issuer {
            url: config.issuer.clone(),
            why: why.to_owned(),
        };
        if !config.issuer.starts_with("https://") {
            return Err(wrong("must begin with https://"));
        }
        if config.issuer.contains(['?', '#']) {
            return Err(wrong("must have no query and no fragment"));
        }
        if config.issuer == crate::api::tokens::ISSUER {
            return Err(wrong("is the issuer of service account tokens"));
        }
        let keys = Keys::new(&config.issuer, &config.authority)?;
        Ok(Self { config, keys })
    }

    /// Whose token it is, if the issuer has signed it for this cluster.
    pub(in crate::api) async fn user(&self, token: &str) -> Option<User> {
        if token.len() > LONGEST || issuer(token)? != self.config.issuer {
            return None;
        }
        let user = self.verified(token).await;
        user.inspect_err(|why| tracing::debug!(why, "an ID token is refused"))
            .ok()
    }

    async fn verified(&self, token: &str) -> Result<User, String> {
        let header = decode_header(token).map_err(|error| error.to_string())?;
        if !self.config.algorithms.contains(&header.alg) {
            return Err(format!("signed by {:?}", header.alg));
        }
        let said = self.keys.verify(token, &header).await?;
        claims::user(&said, &self.config, Timestamp::now().as_second())
    }

    /// Keeps the issuer's keys until `stopping`.
    pub async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        stopping.run_until_cancelled(self.keys.keep()).await;
    }
}

/// The issuer that a token names, whoever wrote it.
fn issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let read: Unverified = serde_json::from_slice(&payload).ok()?;
    Some(read.iss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_at_a_url_of_its_own() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let open = |issuer: &str| {
            let config = OidcConfig {
                issuer: issuer.to_owned(),
                ..claims::sample()
            };
            Oidc::new(config)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(open("https://issuer.example.org/realm"), Ok(()));
        for (url, why) in [
            ("http://issuer.example.org", "must begin with https://"),
            ("https://a?b", "must have no query and no fragment"),
            (
                crate::api::tokens::ISSUER,
                "is the issuer of service account tokens",
            ),
        ] {
            assert_eq!(open(url), Err(format!("OIDC issuer {url:?}: {why}")));
        }
    }

    #[test]
    fn only_tokens_name_an_issuer() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode("{\"iss\":\"https://a\",\"aud\":3}");
        assert_eq!(issuer(&format!("x.{payload}.y")).unwrap(), "https://a");
        for other in ["", "abcdef.0123456789abcdef", "a.b.c", "a.b.c.d"] {
            assert_eq!(issuer(other), None, "{other}");
        }
    }
}
