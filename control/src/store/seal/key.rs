//! One key, and what a value looks like that it has sealed:
//!
//! `k8s:enc:aesgcm:v1:NAME:` | nonce, 12 bytes | ciphertext | tag, 16 bytes
//!
//! as Kubernetes writes it. The place of the value is authenticated with it, so that a value moved to
//! another object's place does not open. Nonces are random: a key should be replaced long before it
//! has sealed 2³² values (NIST SP 800-38D, 8.3).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use bytes::Bytes;

/// How every sealed value begins, whoever sealed it. JSON never does.
const SEALED: &[u8] = b"k8s:enc:";
/// How a value begins that a key of ours may have sealed.
const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:";

/// A key with its name.
pub(super) struct Key {
    pub(super) name: String,
    key: LessSafeKey,
}

impl Key {
    /// A key of 16, 24 or 32 bytes; none for other lengths.
    pub(super) fn new(name: &str, secret: &[u8]) -> Option<Self> {
        let algorithm = match secret.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            key: LessSafeKey::new(UnboundKey::new(algorithm, secret).ok()?),
        })
    }

    /// Seals a value for the place `place`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn seal(&self, place: &str, value: &[u8]) -> Result<Bytes, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce)?;
        let mut out = [PREFIX, self.name.as_bytes(), b":", &nonce].concat();
        let start = out.len();
        out.extend_from_slice(value);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let place = Aad::from(place.as_bytes());
        let sealing = &mut out[start..];
        let tag = self.key.seal_in_place_separate_tag(nonce, place, sealing)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out.into())
    }

    /// Opens what follows the key's name in a sealed value; none if it was sealed by another key or
    /// for another place, or is damaged.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut text = text.to_vec();
        let place = Aad::from(place.as_bytes());
        let size = self.key.open_in_place(nonce, place, &mut text).ok()?.len();
        text.truncate(size);
        Some(text)
    }
}

/// A stored value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// As it is.
    Plain,
    /// Sealed by the key of this name; what follows the name.
    Sealed(&'a str, &'a [u8]),
    /// Sealed in a way that is not known here; the beginning of it.
    Foreign(String),
}

/// What a stored value is.
pub(super) fn form(value: &[u8]) -> Form<'_> {
    if !value.starts_with(SEALED) {
        return Form::Plain;
    }
    let named = value.strip_prefix(PREFIX).and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&rest[..end]).ok()?;
        Some(Form::Sealed(name, &rest[end + 1..]))
    });
    named.unwrap_or_else(|| {
        let start = &value[..value.len().min(40)];
        Form::Foreign(start.escape_ascii().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(key: &Key, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        match form(sealed) {
            Form::Sealed(_, rest) => key.open(place, rest),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_key_has_sealed_opens_with_it_in_its_place_only() {
        for length in [16, 24, 32] {
            let key = Key::new("one", &vec![7; length]).unwrap();
            let sealed = key.seal("secrets|a/b", b"{\"x\":1}").unwrap();
            assert!(sealed.starts_with(b"k8s:enc:aesgcm:v1:one:"));
            assert_eq!(opened(&key, "secrets|a/b", &sealed).unwrap(), b"{\"x\":1}");
            assert_eq!(opened(&key, "secrets|a/c", &sealed), None);
            let other = Key::new("one", &vec![8; length]).unwrap();
            assert_eq!(opened(&other, "secrets|a/b", &sealed), None);
            assert_ne!(sealed, key.seal("secrets|a/b", b"{\"x\":1}").unwrap());
        }
        for length in [0, 15, 17, 31, 33] {
            assert!(Key::new("one", &vec![7; length]).is_none(), "{length}");
        }
    }

    #[test]
    fn every_damage_is_found() {
        let key = Key::new("one", &[7; 32]).unwrap();
        let sealed = key.seal("here", b"value").unwrap();
        let start = sealed.len() - "value".len() - 16 - NONCE_LEN;
        for place in start..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[place] ^= 1;
            assert_eq!(opened(&key, "here", &damaged), None, "at {place}");
        }
        for end in start..sealed.len() {
            assert_eq!(opened(&key, "here", &sealed[..end]), None, "to {end}");
        }
    }

    #[test]
    fn forms_are_told_apart() {
        assert_eq!(form(b"{\"kind\":\"Secret\"}"), Form::Plain);
        assert_eq!(form(b""), Form::Plain);
        assert_eq!(form(b"k8s:enc:aesgcm:v1:a:bc"), Form::Sealed("a", b"bc"));
        let foreign = "k8s:enc:secretbox:v1:a:bc";
        assert_eq!(form(foreign.as_bytes()), Form::Foreign(foreign.to_owned()));
        assert!(matches!(form(b"k8s:enc:aesgcm:v1:a"), Form::Foreign(_)));
    }
}
