//! Certificate signing requests (PKCS #10, RFC 2986): what somebody wants to be certified as.
//!
//! Read for signing and for the rules about who may have what signed. Of what a request asks for,
//! only subject, names and key are taken over; what the certificate is good for is said beside it.

use std::net::IpAddr;

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// OID of commonName (RFC 4519, 2.3).
const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];
/// OID of organizationName (RFC 4519, 2.19).
pub(super) const ORGANIZATION: [u64; 4] = [2, 5, 4, 10];

/// Why a request cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// It is no PEM block of the right type, or what is in it is no request.
    #[error("unable to parse the certificate request")]
    Unreadable,
    /// Whoever made it does not have the key.
    #[error("the signature of the certificate request is invalid")]
    Signature,
    /// The key is of a kind that cannot be certified here.
    #[error("the public key is of an unsupported kind")]
    Key,
    /// It asks for a name of another kind.
    #[error("subjectAltNames may be DNS names, IP addresses, emails and URIs")]
    Name,
}

/// A request whose maker has the key.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// Attributes of the subject in order, by OID.
    pub(super) subject: Vec<(Vec<u64>, String)>,
    /// DNS names.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Email addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    pub(super) key: SubjectPublicKeyInfo,
}

impl CertificateRequest {
    /// Reads a PEM block and checks its signature.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, RequestError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem);
        let der = der.map_err(|_| RequestError::Unreadable)?;
        let parsed = X509CertificationRequest::from_der(der.as_ref());
        let (_, parsed) = parsed.map_err(|_| RequestError::Unreadable)?;
        let signed = parsed.verify_signature();
        signed.map_err(|_| RequestError::Signature)?;
        let info = &parsed.certification_request_info;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw);
        let mut request = Self {
            subject: Vec::new(),
            names: Vec::new(),
            addresses: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            key: key.map_err(|_| RequestError::Key)?,
        };
        for attribute in info.subject.iter_attributes() {
            let oid = attribute.attr_type().iter();
            let oid = oid.ok_or(RequestError::Unreadable)?.collect();
            let value = attribute.as_str().map_err(|_| RequestError::Unreadable)?;
            request.subject.push((oid, value.to_owned()));
        }
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    request.add(name)?;
                }
            }
        }
        Ok(request)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        match name {
            GeneralName::DNSName(name) => self.names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => self.addresses.push(address(bytes)?),
            _ => return Err(RequestError::Name),
        }
        Ok(())
    }

    /// The common name; empty if there is none.
    pub fn common_name(&self) -> &str {
        self.attributes(&COMMON_NAME).next().unwrap_or_default()
    }

    /// The organizations in order.
    pub fn organizations(&self) -> Vec<&str> {
        self.attributes(&ORGANIZATION).collect()
    }

    fn attributes<'a>(&'a self, wanted: &'a [u64]) -> impl Iterator<Item = &'a str> {
        let found = self.subject.iter().filter(move |(oid, _)| oid == wanted);
        found.map(|(_, value)| value.as_str())
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, RequestError> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let six = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| six()).map_err(|_| RequestError::Name)
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// A request, PEM, of the node `name` with these names of a server.
    pub(crate) fn of_node(name: &str, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let dn = &mut params.distinguished_name;
        dn.push(DnType::OrganizationName, "system:nodes");
        dn.push(DnType::CommonName, format!("system:node:{name}"));
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn subject_and_names_are_read() {
        let pem = of_node("n1", &["n1.example.org", "192.0.2.1", "2001:db8::1"]);
        let request = CertificateRequest::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(request.common_name(), "system:node:n1");
        assert_eq!(request.organizations(), ["system:nodes"]);
        assert_eq!(request.names, ["n1.example.org"]);
        let addresses: Vec<_> = request.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn what_cannot_be_signed_is_told_apart() {
        let read = |pem: &str| CertificateRequest::from_pem(pem.as_bytes()).map(|_| ());
        assert_eq!(read("junk"), Err(RequestError::Unreadable));
        let block =
            "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
        assert_eq!(read(block), Err(RequestError::Unreadable));
        let der = CertificateSigningRequestDer::from_pem_slice(of_node("n1", &[]).as_bytes());
        let mut der = der.unwrap().to_vec();
        // Another name under the same signature.
        let place = der.windows(2).position(|pair| pair == b"n1").unwrap();
        der[place] = b'm';
        let forged = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
        let forged = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{forged}\n-----END CERTIFICATE REQUEST-----\n"
        );
        assert_eq!(read(&forged), Err(RequestError::Signature));
        let mut params = CertificateParams::default();
        let other = SanType::OtherName((vec![1, 3, 6], "x".into()));
        params.subject_alt_names.push(other);
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        assert_eq!(read(&pem), Err(RequestError::Name));
    }
}
