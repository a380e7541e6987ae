//! The authority: made on first use, loaded afterwards, and the leaf certificates that it signs.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::request::ORGANIZATION;

/// How long the authority itself is valid: ten years.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a leaf is valid unless somebody says otherwise.
pub const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before now a certificate begins, so that a clock that lags a little still accepts it.
const LAG: Duration = Duration::from_secs(24 * 3600);

/// Groups that one certificate can name.
const MAX_GROUPS: usize = 2;

/// Why a credential could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key could not be made or read.
    #[error("cannot make or read the certificate of {name}")]
    Certificate {
        /// Whose.
        name: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate or key is no PEM.
    #[error("a certificate or key is unreadable")]
    Pem {
        /// What is wrong.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// TLS refuses certificate and key.
    #[error("TLS refuses the certificate")]
    Tls {
        /// What it said.
        #[source]
        source: rustls::Error,
    },
    /// An attribute that a certificate can hold once.
    #[error("the subject of {name} says something twice")]
    Twice {
        /// Whose.
        name: String,
    },
    /// More groups than a certificate can name.
    #[error("the certificate of {name} can name {MAX_GROUPS} groups at most")]
    Groups {
        /// Whose.
        name: String,
    },
}

/// Whom a leaf certificate names and what it is for.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The user, as common name.
    pub user: String,
    /// Groups, as organizations.
    pub groups: Vec<String>,
    /// DNS names of a server.
    pub names: Vec<String>,
    /// Addresses of a server.
    pub addresses: Vec<IpAddr>,
}

/// A signed certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// The cluster's authority.
pub struct Authority {
    certificate: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Loads `dir/ca.crt` and `dir/ca.key`, making them first where they are missing.
    ///
    /// # Errors
    /// When the files cannot be read, written or understood.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !certificate.exists() || !key.exists() {
            let made = make_authority()?;
            fs::create_dir_all(dir).map_err(|source| file(dir, source))?;
            write_secret(&key, &made.key)?;
            write_public(&certificate, &made.certificate)?;
        }
        Self::from_pem(read(&certificate)?, &read(&key)?)
    }

    fn from_pem(certificate: String, key: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key).map_err(|source| refused("the authority", source))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|source| refused("the authority", source))?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs a certificate that serves as client and, if the subject has names, as server.
    ///
    /// # Errors
    /// When a name is no DNS name.
    pub fn sign(&self, subject: &Subject) -> Result<Leaf, PkiError> {
        self.sign_for(subject, LEAF_LIFE)
    }

    /// As [`Authority::sign`], valid for `life` from now.
    ///
    /// # Errors
    /// When a name is no DNS name.
    pub fn sign_for(&self, subject: &Subject, life: Duration) -> Result<Leaf, PkiError> {
        let key = KeyPair::generate().map_err(|source| refused(&subject.user, source))?;
        let params = leaf_params(subject, life)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|source| refused(&subject.user, source))?;
        Ok(Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn make_authority() -> Result<Leaf, PkiError> {
    let key = KeyPair::generate().map_err(|source| refused("the authority", source))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "naru-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    valid_for(&mut params, AUTHORITY_LIFE);
    let certificate = params
        .self_signed(&key)
        .map_err(|source| refused("the authority", source))?;
    Ok(Leaf {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn leaf_params(subject: &Subject, life: Duration) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(subject.names.clone())
        .map_err(|source| refused(&subject.user, source))?;
    params.distinguished_name = DistinguishedName::new();
    if subject.groups.len() > MAX_GROUPS {
        return Err(PkiError::Groups {
            name: subject.user.clone(),
        });
    }
    // The library keeps one value per type; the second group goes under the same OID by number.
    let types = [
        DnType::OrganizationName,
        DnType::CustomDnType(ORGANIZATION.to_vec()),
    ];
    for (group, dn_type) in subject.groups.iter().zip(types) {
        params.distinguished_name.push(dn_type, group.as_str());
    }
    params
        .distinguished_name
        .push(DnType::CommonName, subject.user.as_str());
    params
        .subject_alt_names
        .extend(subject.addresses.iter().copied().map(SanType::IpAddress));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !params.subject_alt_names.is_empty() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    valid_for(&mut params, life);
    Ok(params)
}

/// From a little before now until `life` after it.
pub(super) fn valid_for(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - LAG).into();
    params.not_after = (now + life).into();
}

pub(super) fn refused(name: &str, source: rcgen::Error) -> PkiError {
    PkiError::Certificate {
        name: name.to_owned(),
        source,
    }
}

fn file(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::File {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| file(path, source))
}

/// Writes a file that everybody may read.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, 0o644)
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, 0o600)
}

/// Through a temporary name, so that a reader never sees half a file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary);
    let mut out = opened.map_err(|source| file(&temporary, source))?;
    out.write_all(text.as_bytes())
        .map_err(|source| file(&temporary, source))?;
    out.sync_all().map_err(|source| file(&temporary, source))?;
    fs::rename(&temporary, path).map_err(|source| file(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path()).unwrap();
        let second = Authority::open(dir.path()).unwrap();
        assert_eq!(first.certificate(), second.certificate());
    }

    #[test]
    fn a_leaf_lives_as_long_as_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let subject = Subject {
            user: "jane".into(),
            ..Subject::default()
        };
        let life = Duration::from_secs(90);
        let leaf = authority.sign_for(&subject, life).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(leaf.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let left =
            certificate.validity().not_after.timestamp() - jiff::Timestamp::now().as_second();
        assert!((80..=90).contains(&left), "{left}");
    }

    #[test]
    fn a_leaf_names_its_user_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let subject = Subject {
            user: "jane".into(),
            groups: vec!["dev".into(), "ops".into()],
            ..Subject::default()
        };
        let leaf = authority.sign(&subject).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(leaf.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), "O=dev, O=ops, CN=jane");
    }
}
