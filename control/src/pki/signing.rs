//! Certificates that somebody asks for with a key of his own.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType,
};

use super::authority::{Authority, PkiError, refused, valid_for};
use super::request::{CertificateRequest, ORGANIZATION};

/// What a certificate that somebody asked for is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `digital signature`.
    Signature,
    /// `key encipherment`.
    KeyEncipherment,
    /// `client auth`.
    Client,
    /// `server auth`.
    Server,
}

impl Authority {
    /// Certifies the key of a request, for `life` from now and for nothing but `purposes`; answers the
    /// certificate, PEM.
    ///
    /// # Errors
    /// When the subject says more than a certificate made here can, or a name is none.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        purposes: &[Purpose],
        life: Duration,
    ) -> Result<String, PkiError> {
        let name = request.common_name();
        let failed = |source| refused(name, source);
        let mut params = CertificateParams::default();
        params.distinguished_name = copied(request)?;
        let names = &mut params.subject_alt_names;
        for name in &request.names {
            names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
        }
        names.extend(request.addresses.iter().copied().map(SanType::IpAddress));
        for email in &request.emails {
            let email = email.as_str().try_into().map_err(failed)?;
            names.push(SanType::Rfc822Name(email));
        }
        for uri in &request.uris {
            names.push(SanType::URI(uri.as_str().try_into().map_err(failed)?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        for purpose in purposes {
            match purpose {
                Purpose::Signature => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
                Purpose::KeyEncipherment => {
                    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                }
                Purpose::Client => {
                    let usage = ExtendedKeyUsagePurpose::ClientAuth;
                    params.extended_key_usages.push(usage);
                }
                Purpose::Server => {
                    let usage = ExtendedKeyUsagePurpose::ServerAuth;
                    params.extended_key_usages.push(usage);
                }
            }
        }
        valid_for(&mut params, life);
        let certificate = params.signed_by(&request.key, &self.issuer);
        Ok(certificate.map_err(failed)?.pem())
    }
}

/// The subject of a request, attribute by attribute.
fn copied(request: &CertificateRequest) -> Result<DistinguishedName, PkiError> {
    let mut name = DistinguishedName::new();
    for (oid, value) in &request.subject {
        // The library keeps one value per type; a second group goes under the same OID by name.
        let mut kind = DnType::CustomDnType(oid.clone());
        if *oid == ORGANIZATION && name.get(&kind).is_some() {
            kind = DnType::OrganizationName;
        }
        if name.get(&kind).is_some() {
            return Err(match *oid == ORGANIZATION {
                true => PkiError::Groups {
                    name: request.common_name().to_owned(),
                },
                false => PkiError::Twice {
                    name: request.common_name().to_owned(),
                },
            });
        }
        name.push(kind, value.as_str());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_certified_as_it_says_and_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let asked = super::super::request_tests::of_node("n1", &["n1", "192.0.2.1"]);
        let asked = CertificateRequest::from_pem(asked.as_bytes()).unwrap();
        let purposes = [Purpose::Signature, Purpose::Server];
        let life = Duration::from_secs(90);
        let made = authority.sign_request(&asked, &purposes, life).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(made.as_bytes()).unwrap();
        let made = pem.parse_x509().unwrap();
        assert_eq!(
            made.subject().to_string(),
            "O=system:nodes, CN=system:node:n1"
        );
        let usage = made.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
        assert!(!made.is_ca());
        let names = made.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(authority.certificate().as_bytes()).unwrap();
        let root = pem.parse_x509().unwrap();
        made.verify_signature(Some(root.public_key())).unwrap();
    }
}
