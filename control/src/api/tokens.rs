//! Service account tokens: ES256 JWTs, bound to the account and, where asked, to a pod.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authn::{CREDENTIAL, User};

/// The issuer and default audience of tokens.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Why the token key is unusable.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key file cannot be read or written.
    #[error("cannot read or write the token key")]
    File(#[source] std::io::Error),
    /// The key cannot be made or understood.
    #[error("the token key is unusable")]
    Key(#[source] rcgen::Error),
    /// The JWT library refuses the key or the claims.
    #[error("cannot sign")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// An object by name and uid.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Bound {
    /// Name.
    pub name: String,
    /// Uid; another object of that name does not count.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What the token says about the account.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Account {
    /// The account's namespace.
    pub namespace: String,
    /// The account.
    pub serviceaccount: Bound,
    /// The pod whose life limits the token's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// The node of that pod when the token was made; without a uid if there was no such Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
}

/// The claims of a token (RFC 7519 names). Times are seconds since the epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Issuer.
    pub iss: String,
    /// Subject.
    pub sub: String,
    /// Audiences.
    pub aud: Vec<String>,
    /// End of validity.
    pub exp: i64,
    /// Time of issue.
    pub iat: i64,
    /// Start of validity.
    pub nbf: i64,
    /// Unique id.
    pub jti: String,
    /// The account.
    #[serde(rename = "kubernetes.io")]
    pub account: Account,
}

/// Signs and verifies.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// The public key as RFC 7517 writes it.
    public: Value,
}

impl Tokens {
    /// Loads the key from `path`, making it first where it is missing.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        if !path.exists() {
            let key = KeyPair::generate().map_err(TokenError::Key)?;
            write_key(path, &key.serialize_pem()).map_err(TokenError::File)?;
        }
        let pem = fs::read_to_string(path).map_err(TokenError::File)?;
        let pair = KeyPair::from_pem(&pem).map_err(TokenError::Key)?;
        let public = pair.public_key_pem();
        Ok(Self {
            public: web_key(pair.public_key_raw()),
            encoding: EncodingKey::from_ec_pem(pem.as_bytes()).map_err(TokenError::Sign)?,
            decoding: DecodingKey::from_ec_pem(public.as_bytes()).map_err(TokenError::Sign)?,
        })
    }

    /// The keys by which others verify tokens (RFC 7517).
    pub(super) fn key_set(&self) -> Value {
        json!({"keys": [self.public]})
    }

    /// Signs a token for `account`, valid for `lifetime` seconds from `now`.
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn sign(
        &self,
        account: Account,
        audiences: Vec<String>,
        now: i64,
        lifetime: i64,
    ) -> Result<String, TokenError> {
        let name = &account.serviceaccount.name;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: format!("system:serviceaccount:{}:{name}", account.namespace),
            aud: audiences,
            exp: now.saturating_add(lifetime),
            iat: now,
            nbf: now,
            jti: uuid::Uuid::new_v4().to_string(),
            account,
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = self.public["kid"].as_str().map(str::to_owned);
        encode(&header, &claims, &self.encoding).map_err(TokenError::Sign)
    }

    /// What a valid token that is meant for one of `audiences` says.
    pub(super) fn verify(&self, token: &str, audiences: &[String]) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(audiences);
        validation.set_issuer(&[ISSUER]);
        validation.validate_nbf = true;
        let decoded = decode::<Claims>(token, &self.decoding, &validation).ok()?;
        Some(decoded.claims)
    }
}

impl Claims {
    /// The account as a user.
    pub(super) fn user(&self) -> User {
        let Account {
            namespace,
            serviceaccount,
            pod,
            node,
        } = &self.account;
        let mut extra =
            BTreeMap::from([(CREDENTIAL.to_owned(), vec![format!("JTI={}", self.jti)])]);
        for (what, bound) in [("pod", pod), ("node", node)] {
            let Some(bound) = bound else { continue };
            for (part, value) in [("name", &bound.name), ("uid", &bound.uid)] {
                if !value.is_empty() {
                    let key = format!("authentication.kubernetes.io/{what}-{part}");
                    extra.insert(key, vec![value.clone()]);
                }
            }
        }
        User {
            uid: serviceaccount.uid.clone(),
            extra: Arc::new(extra),
            ..User::account(namespace, &serviceaccount.name)
        }
    }
}

/// A point of P-256, uncompressed, as a JSON web key.
fn web_key(point: &[u8]) -> Value {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = match point {
        [4, rest @ ..] => rest.split_at(rest.len() / 2),
        _ => (&[][..], &[][..]),
    };
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, point);
    json!({"use": "sig", "kty": "EC", "alg": "ES256", "crv": "P-256",
        "kid": id.simple().to_string(), "x": encode(x), "y": encode(y)})
}

/// What a client of OpenID Connect asks first; `base` is where the keys are.
pub(super) fn discovery(base: &str) -> Value {
    json!({"issuer": ISSUER, "jwks_uri": format!("{base}/openid/v1/jwks"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"]})
}

fn write_key(path: &Path, pem: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let bound = |name: &str| Bound {
            name: name.into(),
            uid: "u".into(),
        };
        Account {
            namespace: "shop".into(),
            serviceaccount: bound("default"),
            pod: Some(bound("web")),
            node: Some(Bound {
                name: "n1".into(),
                uid: String::new(),
            }),
        }
    }

    fn own() -> Vec<String> {
        vec![ISSUER.to_owned()]
    }

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    #[test]
    fn a_signed_token_verifies_and_a_foreign_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let ours = Tokens::open(&dir.path().join("sa.key")).unwrap();
        let theirs = Tokens::open(&dir.path().join("other.key")).unwrap();
        let token = ours
            .sign(account(), vec![ISSUER.into()], now(), 600)
            .unwrap();
        let verify = |tokens: &Tokens| tokens.verify(&token, &own()).map(|it| it.account);
        assert_eq!(verify(&ours), Some(account()));
        assert_eq!(verify(&theirs), None);
        let again = Tokens::open(&dir.path().join("sa.key")).unwrap();
        assert_eq!(verify(&again), Some(account()));
    }

    #[test]
    fn a_tokens_user_knows_account_pod_node_and_token() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("sa.key")).unwrap();
        let token = tokens.sign(account(), own(), now(), 600).unwrap();
        let claims = tokens.verify(&token, &own()).unwrap();
        let user = claims.user();
        assert_eq!(user.name, "system:serviceaccount:shop:default");
        assert_eq!(user.uid, "u");
        let extra = |key: &str| {
            user.extra
                .get(&format!("authentication.kubernetes.io/{key}"))
        };
        assert_eq!(extra("pod-name").unwrap(), &["web"]);
        assert_eq!(extra("pod-uid").unwrap(), &["u"]);
        assert_eq!(extra("node-name").unwrap(), &["n1"]);
        assert_eq!(extra("node-uid"), None);
        assert_eq!(
            extra("credential-id").unwrap(),
            &[format!("JTI={}", claims.jti)]
        );
    }

    #[test]
    fn expired_tokens_and_other_audiences_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("sa.key")).unwrap();
        let old = tokens
            .sign(account(), vec![ISSUER.into()], now() - 7200, 600)
            .unwrap();
        let other = tokens
            .sign(account(), vec!["vault".into()], now(), 600)
            .unwrap();
        assert!(tokens.verify(&old, &own()).is_none());
        assert!(tokens.verify(&other, &own()).is_none());
    }
}
