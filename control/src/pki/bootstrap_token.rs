//! Bootstrap tokens: what a node shows that has no certificate yet. Each is a Secret of its own type
//! in `kube-system`, named `bootstrap-token-ID`; the token is `ID.SECRET`.
//!
//! Here is what such a Secret says, of which the API server, which takes the token, and the
//! controllers, which remove and sign, read the same. Bytes in, no objects: the server has JSON where
//! the controllers have types.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;

/// The type of the Secrets.
pub const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of everybody who shows such a token.
const GROUP: &str = "system:bootstrappers";
/// The group whose members are made nodes; tokens name it in `auth-extra-groups`. The name is
/// kubeadm's, so that its tokens fit.
pub const DEFAULT_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
/// Characters of an extra group behind the prefix.
const LONGEST_GROUP: usize = 256;

/// Id and secret of a token; none if it is no bootstrap token by its shape.
pub fn split_token(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let part = |text: &str, length: usize| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        text.len() == length && text.bytes().all(plain)
    };
    (part(id, 6) && part(secret, 16)).then_some((id, secret))
}

/// What a token's Secret says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// The public part.
    pub id: String,
    /// The other part.
    pub secret: Vec<u8>,
    expires: Expiry,
    authenticates: bool,
    signs: bool,
    extra: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Never,
    At(Timestamp),
    /// What is written there is no time. Kubernetes takes that for over.
    Unclear,
}

impl BootstrapToken {
    /// The name of the Secret of a token.
    pub fn name(id: &str) -> String {
        format!("bootstrap-token-{id}")
    }

    /// Reads the entries of a Secret.
    pub fn read(entry: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let text = |key: &str| {
            let bytes = entry(key).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let expires = match text("expiration").as_str() {
            "" => Expiry::Never,
            time => time.parse().map_or(Expiry::Unclear, Expiry::At),
        };
        Self {
            id: text("token-id"),
            secret: entry("token-secret").unwrap_or_default(),
            expires,
            authenticates: text("usage-bootstrap-authentication") == "true",
            signs: text("usage-bootstrap-signing") == "true",
            extra: text("auth-extra-groups"),
        }
    }

    /// Whether it is over at `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        match self.expires {
            Expiry::Never => false,
            Expiry::At(end) => end <= now,
            Expiry::Unclear => true,
        }
    }

    /// When it will be over, if ever.
    pub fn end(&self) -> Option<Timestamp> {
        match self.expires {
            Expiry::At(end) => Some(end),
            Expiry::Never | Expiry::Unclear => None,
        }
    }

    /// Whether it vouches for what is said about the cluster, at `now`.
    pub fn signs(&self, now: Timestamp) -> bool {
        self.signs && !self.id.is_empty() && !self.secret.is_empty() && !self.has_expired(now)
    }

    /// The groups of somebody who shows `id` and `secret` at `now`; none if he is to be nobody.
    pub fn admits(&self, id: &str, secret: &str, now: Timestamp) -> Option<Vec<String>> {
        verify_slices_are_equal(&self.secret, secret.as_bytes()).ok()?;
        let usable = self.id == id && self.authenticates && !self.has_expired(now);
        usable.then(|| self.groups()).flatten()
    }

    /// None when a group is named that such a token must not give.
    fn groups(&self) -> Option<Vec<String>> {
        let mut groups = vec![GROUP.to_owned()];
        for group in self.extra.split(',').filter(|_| !self.extra.is_empty()) {
            if !is_extra(group) {
                return None;
            }
            if !groups.iter().any(|have| have == group) {
                groups.push(group.to_owned());
            }
        }
        Some(groups)
    }
}

/// Whether it is `system:bootstrappers:NAME` with a name of lower-case letters, digits, colons and
/// hyphens that ends with one of the former two.
fn is_extra(group: &str) -> bool {
    let name = group
        .strip_prefix(GROUP)
        .and_then(|rest| rest.strip_prefix(':'));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let may_be = |byte: u8| plain(byte) || byte == b':' || byte == b'-';
    name.is_some_and(|name| {
        name.len() <= LONGEST_GROUP
            && name.bytes().all(may_be)
            && name.bytes().next_back().is_some_and(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn token(changes: &[(&str, &str)]) -> BootstrapToken {
        let entries = [
            ("token-id", "abcdef"),
            ("token-secret", SECRET),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-01-01T00:00:00Z"),
            ("auth-extra-groups", DEFAULT_GROUP),
        ];
        BootstrapToken::read(|key| {
            let all = changes.iter().chain(&entries);
            let mut all = all.filter(|(name, _)| *name == key);
            all.next().map(|(_, value)| value.as_bytes().to_vec())
        })
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The groups that the token gives in 2025.
    fn admitted(changes: &[(&str, &str)]) -> Option<Vec<String>> {
        token(changes).admits("abcdef", SECRET, time("2025-01-01T00:00:00Z"))
    }

    #[test]
    fn tokens_have_a_shape() {
        assert_eq!(
            split_token("abcdef.0123456789abcdef"),
            Some(("abcdef", SECRET))
        );
        for other in [
            "",
            "abcdef",
            "abcde.0123456789abcdef",
            "abcdeF.0123456789abcdef",
            "abcdef.0123456789abcde",
            "abcdef.0123456789abcdef0",
            "abcdef.0123456789.bcdef",
        ] {
            assert_eq!(split_token(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_is_good_until_its_end_and_for_its_use() {
        assert_eq!(admitted(&[]).unwrap(), [GROUP, DEFAULT_GROUP]);
        assert_eq!(admitted(&[("auth-extra-groups", "")]).unwrap(), [GROUP]);
        let forever = token(&[("expiration", "")]);
        let late = time("2099-01-01T00:00:00Z");
        assert!(forever.admits("abcdef", SECRET, late).is_some());
        for refused in [
            ("token-id", "ghijkl"),
            ("token-secret", "0123456789abcdee"),
            ("token-secret", ""),
            ("expiration", "2024-12-31T23:59:59Z"),
            ("expiration", "2025-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("usage-bootstrap-authentication", "True"),
            ("usage-bootstrap-authentication", ""),
            ("auth-extra-groups", "system:masters"),
            ("auth-extra-groups", "system:bootstrappers:"),
            ("auth-extra-groups", "system:bootstrappers:a-"),
            ("auth-extra-groups", "system:bootstrappers:A"),
            (
                "auth-extra-groups",
                "system:bootstrappers:a, system:bootstrappers:b",
            ),
        ] {
            assert_eq!(admitted(&[refused]), None, "{refused:?}");
        }
    }

    #[test]
    fn only_who_is_to_sign_signs() {
        let now = time("2025-01-01T00:00:00Z");
        assert!(!token(&[]).signs(now));
        let signs = ("usage-bootstrap-signing", "true");
        assert!(token(&[signs]).signs(now));
        assert!(!token(&[signs, ("expiration", "soon")]).signs(now));
    }
}
