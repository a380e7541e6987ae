//! Certificates of this process that are replaced before they end, without a restart.
//!
//! TLS asks a [`Rotating`] for its certificate at every handshake; [`Rotation::run`] swaps it at
//! two thirds of its life. Connections that are open keep what they have shaken hands with.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use super::authority::{Authority, Leaf, PkiError, Subject};

/// The clock is looked at this often: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(600);
/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_secs(10);

/// The certificate of the moment, for both sides of TLS.
#[derive(Debug)]
pub struct Rotating(ArcSwap<CertifiedKey>);

impl Rotating {
    /// Begins with `leaf`.
    ///
    /// # Errors
    /// When certificate and key are unreadable or do not fit together.
    pub fn new(leaf: &Leaf) -> Result<Arc<Self>, PkiError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(certified(leaf)?))))
    }

    /// Shows `leaf` from the next handshake on.
    ///
    /// # Errors
    /// When certificate and key are unreadable or do not fit together; the old ones stay.
    pub fn replace(&self, leaf: &Leaf) -> Result<(), PkiError> {
        self.0.store(Arc::new(certified(leaf)?));
        Ok(())
    }
}

impl ResolvesServerCert for Rotating {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Rotating {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(leaf: &Leaf) -> Result<CertifiedKey, PkiError> {
    let pem = |source| PkiError::Pem { source };
    let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(pem)?;
    let installed = CryptoProvider::get_default().cloned();
    let provider = installed.unwrap_or_else(|| Arc::new(default_provider()));
    CertifiedKey::from_der(chain, key, &provider).map_err(|source| PkiError::Tls { source })
}

/// What to do with a fresh leaf.
type Install = Box<dyn Fn(&Leaf) -> Result<(), PkiError> + Send + Sync>;

/// Leaves of one life span and where they go.
pub struct Rotation {
    authority: Arc<Authority>,
    life: Duration,
    leaves: Vec<(Subject, Install)>,
}

impl Rotation {
    /// Leaves that are valid for `life`, signed by `authority`.
    pub fn new(authority: Arc<Authority>, life: Duration) -> Self {
        Self {
            authority,
            life,
            leaves: Vec::new(),
        }
    }

    /// A certificate for `subject` that stays fresh while [`Rotation::run`] runs.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn rotating(&mut self, subject: Subject) -> Result<Arc<Rotating>, PkiError> {
        let rotating = Rotating::new(&self.authority.sign_for(&subject, self.life)?)?;
        let installed = rotating.clone();
        let install: Install = Box::new(move |leaf| installed.replace(leaf));
        self.leaves.push((subject, install));
        Ok(rotating)
    }

    /// Hands a leaf for `subject` to `install`, now and whenever it is renewed.
    ///
    /// # Errors
    /// When it cannot be signed or installed now.
    pub fn install(
        &mut self,
        subject: Subject,
        install: impl Fn(&Leaf) -> Result<(), PkiError> + Send + Sync + 'static,
    ) -> Result<(), PkiError> {
        install(&self.authority.sign_for(&subject, self.life)?)?;
        self.leaves.push((subject, Box::new(install)));
        Ok(())
    }

    /// Renews until `stopping`.
    pub async fn run(self, stopping: CancellationToken) {
        let mut due = renewal(Timestamp::now(), self.life);
        loop {
            let left = until(due, Timestamp::now());
            let pause = tokio::time::sleep(left.min(LOOK));
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
            let now = Timestamp::now();
            if now >= due {
                due = if self.renew() {
                    renewal(now, self.life)
                } else {
                    now.saturating_add(SignedDuration::try_from(RETRY).unwrap_or_default())
                        .unwrap_or(Timestamp::MAX)
                };
            }
        }
    }

    /// Whether every leaf was replaced.
    fn renew(&self) -> bool {
        let mut all_well = true;
        for (subject, install) in &self.leaves {
            let leaf = self.authority.sign_for(subject, self.life);
            match leaf.and_then(|leaf| install(&leaf)) {
                Ok(()) => tracing::info!(user = subject.user, "certificate renewed"),
                Err(error) => {
                    all_well = false;
                    tracing::error!(user = subject.user, %error, "certificate not renewed");
                }
            }
        }
        all_well
    }
}

/// When a certificate made at `made` is replaced: at two thirds of its life.
fn renewal(made: Timestamp, life: Duration) -> Timestamp {
    let share = SignedDuration::try_from(life / 3 * 2).unwrap_or(SignedDuration::MAX);
    made.saturating_add(share).unwrap_or(Timestamp::MAX)
}

fn until(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_replaced_at_two_thirds_of_its_life() {
        let made = Timestamp::UNIX_EPOCH;
        let due = renewal(made, Duration::from_secs(90));
        assert_eq!(due.as_second(), 60);
        assert_eq!(until(due, made), Duration::from_secs(60));
        assert_eq!(until(made, due), Duration::ZERO);
        assert!(renewal(made, Duration::MAX) > made);
    }

    #[tokio::test]
    async fn a_client_shows_a_fresh_certificate_after_two_thirds() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open(dir.path()).unwrap());
        let mut rotation = Rotation::new(authority, Duration::from_secs(3));
        let subject = Subject {
            user: "caller".into(),
            ..Subject::default()
        };
        let rotating = rotation.rotating(subject).unwrap();
        let shown = || ResolvesClientCert::resolve(&*rotating, &[], &[]).unwrap();
        let first = shown();
        let stopping = CancellationToken::new();
        let running = tokio::spawn(rotation.run(stopping.clone()));
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while shown().cert == first.cert {
            assert!(tokio::time::Instant::now() < end, "not renewed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stopping.cancel();
        running.await.unwrap();
    }
}
