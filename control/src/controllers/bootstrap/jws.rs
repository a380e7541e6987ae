//! Signatures by a token over a text that stands elsewhere: JWS with a detached payload (RFC 7515,
//! appendix F), HS256. Readers compare texts, so the header is written as others write it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The signature of `payload` by the token `id`.
pub(super) fn detached(id: &str, secret: &[u8], payload: &str) -> String {
    let header = format!(
        "{{\"alg\":\"HS256\",\"kid\":{}}}",
        serde_json::Value::from(id)
    );
    let header = BASE64_URL_SAFE_NO_PAD.encode(header);
    let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
    format!("{header}..{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
        let said = detached("abcdef", b"0123456789abcdef", "text");
        let parts: Vec<&str> = said.split('.').collect();
        let [header, "", signature] = parts[..] else {
            panic!("{said}");
        };
        let header = BASE64.decode(header).unwrap();
        assert_eq!(header, b"{\"alg\":\"HS256\",\"kid\":\"abcdef\"}");
        // With its payload put back it is a JWS like any other.
        let whole = format!("{}.{}", parts[0], BASE64.encode("text"));
        let key = jsonwebtoken::DecodingKey::from_secret(b"0123456789abcdef");
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let verified = jsonwebtoken::crypto::verify(signature, whole.as_bytes(), &key, algorithm);
        assert!(verified.unwrap());
    }
}
