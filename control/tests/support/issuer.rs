//! An OpenID Connect issuer: an HTTPS server in the test's process with an authority of its own, that
//! publishes keys and signs tokens.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Signer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A key of an issuer.
pub(crate) struct Key {
    id: String,
    algorithm: Algorithm,
    signing: EncodingKey,
    public: Value,
}

impl Key {
    /// An elliptic one, for ES256.
    pub(crate) fn elliptic(id: &str) -> Key {
        let pair = KeyPair::generate().unwrap();
        let point = pair.public_key_raw();
        let (x, y) = point[1..].split_at(32);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Key {
            id: id.to_owned(),
            algorithm: Algorithm::ES256,
            signing: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public: json!({"kid": id, "kty": "EC", "crv": "P-256", "use": "sig",
                "x": encode(x), "y": encode(y)}),
        }
    }

    /// One of RSA, for RS256.
    pub(crate) fn rsa(id: &str) -> Key {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
        use aws_lc_rs::rsa::{KeyPair, KeySize};
        use aws_lc_rs::signature::KeyPair as _;
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem = BASE64_STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
        let public = pair.public_key();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let modulus = public.modulus();
        let exponent = public.exponent();
        Key {
            id: id.to_owned(),
            algorithm: Algorithm::RS256,
            signing: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
            public: json!({"kid": id, "kty": "RSA", "use": "sig", "alg": "RS256",
                "n": encode(modulus.big_endian_without_leading_zero()),
                "e": encode(exponent.big_endian_without_leading_zero())}),
        }
    }

    /// The same under another name.
    pub(crate) fn called(&self, id: &str) -> Key {
        Key {
            id: id.to_owned(),
            algorithm: self.algorithm,
            signing: self.signing.clone(),
            public: json!({}),
        }
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        encode(&header, claims, &self.signing).unwrap()
    }
}

/// An issuer that can be there and away.
pub(crate) struct Issuer {
    port: u16,
    config: Arc<rustls::ServerConfig>,
    keys: Arc<Mutex<Vec<Value>>>,
    seen: Arc<Mutex<Vec<String>>>,
    task: Option<JoinHandle<()>>,
}

impl Issuer {
    /// One that is away; its authority is written into `authority`.
    pub(crate) fn away(authority: &Path) -> Issuer {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&root).unwrap();
        std::fs::write(authority, certificate.pem()).unwrap();
        let signer = Signer::new(params, root);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &signer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Issuer {
            port: super::free_port(),
            config: Arc::new(config.unwrap()),
            keys: Arc::default(),
            seen: Arc::default(),
            task: None,
        }
    }

    /// One that publishes these keys.
    pub(crate) async fn start(authority: &Path, keys: &[&Key]) -> Issuer {
        let mut issuer = Issuer::away(authority);
        issuer.publish(keys);
        issuer.come().await;
        issuer
    }

    /// Is there from now on.
    pub(crate) async fn come(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let acceptor = TlsAcceptor::from(self.config.clone());
        let (keys, seen) = (self.keys.clone(), self.seen.clone());
        self.task = Some(tokio::spawn(serve(
            listener,
            acceptor,
            keys,
            seen,
            self.url(),
        )));
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.public.clone()).collect();
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/realm", self.port)
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|path| *path == "/keys").count()
    }

    /// The claims of a token for `jane` that is good now, with changes; null takes one away.
    pub(crate) fn claims(&self, changes: Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({"iss": self.url(), "aud": "naru", "sub": "jane",
            "iat": now, "exp": now + 3600, "groups": ["dev"]});
        for (key, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
                value => claims[key] = value.clone(),
            }
        }
        claims
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

type Shared<T> = Arc<Mutex<Vec<T>>>;

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    keys: Shared<Value>,
    seen: Shared<String>,
    url: String,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, keys, seen, url) =
            (acceptor.clone(), keys.clone(), seen.clone(), url.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request: Request<Incoming>| {
                let path = request.uri().path().to_owned();
                let base = url.trim_end_matches("/realm");
                let said = match path.as_str() {
                    "/realm/.well-known/openid-configuration" => {
                        json!({"issuer": url, "jwks_uri": format!("{base}/keys")})
                    }
                    "/keys" => json!({"keys": *keys.lock().unwrap()}),
                    _ => json!({}),
                };
                seen.lock().unwrap().push(path);
                let body = Full::new(Bytes::from(said.to_string()));
                async { Ok::<_, Infallible>(Response::new(body)) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
