//! The issuer's keys: fetched when the server starts, then every hour, and when a token names one
//! that is not known. Anybody can write such a token, so that this is not done more often than every
//! ten seconds.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::OidcError;
use crate::api::remote;

/// Time between fetches that nothing asked for; what the issuer no longer has is forgotten then.
const PERIOD: Duration = Duration::from_secs(3600);
/// Time between attempts while it is away, and between fetches that tokens asked for.
const PAUSE: Duration = Duration::from_secs(10);
/// How long the issuer may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer, at most.
const MOST: usize = 1 << 20;

/// The keys of an issuer.
pub(super) struct Keys {
    issuer: String,
    tls: TlsConnector,
    known: ArcSwapOption<Vec<Key>>,
    /// When a token last asked for others.
    asked: Mutex<Option<Instant>>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// What the issuer says about itself, as far as it is of interest.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl Keys {
    pub(super) fn new(issuer: &str, authority: &[u8]) -> Result<Self, OidcError> {
        let tls = remote::authorities(authority).and_then(|roots| remote::connector(roots, None));
        Ok(Self {
            issuer: issuer.to_owned(),
            tls: tls.map_err(OidcError::Authority)?,
            known: ArcSwapOption::empty(),
            asked: Mutex::default(),
        })
    }

    /// What a token says that one of the keys has signed.
    ///
    /// # Errors
    /// Why nothing is believed.
    pub(super) async fn verify(&self, token: &str, header: &Header) -> Result<Value, String> {
        let known = self.known.load_full();
        let Some(known) = known else {
            return Err("the issuer's keys are not there yet".to_owned());
        };
        let said = verified(&known, token, header);
        // A token that names no key may be of one that is not known yet.
        if said.is_ok() || (header.kid.is_some() && is_known(&known, header)) {
            return said;
        }
        self.renew(&known).await?;
        let known = self.known.load_full().unwrap_or(known);
        verified(&known, token, header)
    }

    /// Fetches keys that are newer than `seen`, unless somebody else has or that was done just now.
    async fn renew(&self, seen: &Arc<Vec<Key>>) -> Result<(), String> {
        let mut asked = self.asked.lock().await;
        let newer = self.known.load();
        if newer
            .as_ref()
            .is_some_and(|newer| !Arc::ptr_eq(newer, seen))
        {
            return Ok(());
        }
        if asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
            return Err("the key is not known, and others were fetched just now".to_owned());
        }
        let fetched = self.fetch().await;
        *asked = Some(Instant::now());
        fetched
    }

    /// Keeps the keys for ever.
    pub(super) async fn keep(&self) {
        let mut away = false;
        loop {
            let wait = match self.fetch().await {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        tracing::info!(issuer = self.issuer, "the OIDC issuer answers");
                    }
                    PERIOD
                }
                Err(why) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(issuer = self.issuer, why, "the OIDC issuer is away");
                    }
                    PAUSE
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let base = self.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let metadata: Metadata = self.get(&url).await?;
        if metadata.issuer != self.issuer {
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.issuer, metadata.issuer
            ));
        }
        let published: Published = self.get(&metadata.jwks_uri).await?;
        let keys: Vec<Key> = published.keys.iter().filter_map(read).collect();
        tracing::debug!(issuer = self.issuer, keys = keys.len(), "keys are fetched");
        self.known.store(Some(keys.into()));
        Ok(())
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, url: &str) -> Result<T, String> {
        let answer = tokio::time::timeout(PATIENCE, remote::get(&self.tls, url, MOST)).await;
        let answer = answer.map_err(|_| "context deadline exceeded".to_owned());
        let answer = answer.and_then(|answer| answer);
        let read = answer.and_then(|answer| {
            serde_json::from_slice(&answer).map_err(|error| format!("the answer: {error}"))
        });
        read.map_err(|why| format!("Get {url:?}: {why}"))
    }
}

/// A key for signatures; what cannot be used is left out.
fn read(value: &Value) -> Option<Key> {
    let jwk = Jwk::deserialize(value).ok()?;
    let foreign =
        matches!(&jwk.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature);
    if foreign || matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
        return None;
    }
    Some(Key {
        key: DecodingKey::from_jwk(&jwk).ok()?,
        id: jwk.common.key_id,
    })
}

/// Whether the key that a token names is among these.
fn is_known(keys: &[Key], header: &Header) -> bool {
    keys.iter().any(|key| key.id == header.kid)
}

fn verified(keys: &[Key], token: &str, header: &Header) -> Result<Value, String> {
    let named = |key: &&Key| header.kid.is_none() || key.id == header.kid;
    let fitting = keys.iter().filter(named);
    let validation = signature_only(header.alg);
    for key in fitting {
        if let Ok(decoded) = decode::<Value>(token, &key.key, &validation) {
            return Ok(decoded.claims);
        }
    }
    Err("failed to verify signature: no key of the issuer fits".to_owned())
}

/// The rest is judged by `claims`.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}
