//! Registry credentials in the form that `docker login` writes.

use base64::Engine as _;
use naru_cri::v1::AuthConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// The credentials for an image's registry; `None` when the document has none for it.
pub fn credentials(document: &[u8], image: &str) -> Option<AuthConfig> {
    let config: DockerConfig = serde_json::from_slice(document).ok()?;
    let (_, entry) = config
        .auths
        .into_iter()
        .filter(|(registry, _)| matches(registry, image))
        .max_by_key(|(registry, _)| registry.len())?;
    let (username, password) = split(entry)?;
    Some(AuthConfig {
        username,
        password,
        ..AuthConfig::default()
    })
}

/// The registry, with or without a path, is where the image comes from.
fn matches(registry: &str, image: &str) -> bool {
    let registry = registry
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let registry = registry
        .trim_end_matches("/v1/")
        .trim_end_matches("/v2/")
        .trim_end_matches('/');
    let registry = if registry == "index.docker.io" {
        "docker.io"
    } else {
        registry
    };
    image
        .strip_prefix(registry)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn split(entry: Entry) -> Option<(String, String)> {
    if !entry.username.is_empty() {
        return Some((entry.username, entry.password));
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(entry.auth)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_registry_wins() {
        // "dTpw" is base64 of "u:p".
        let document = br#"{"auths": {"r.example:5000": {"auth": "dTpw"},
            "r.example:5000/team": {"username": "x", "password": "y"},
            "https://index.docker.io/v1/": {"username": "d", "password": "e"}}}"#;
        let user = |image| credentials(document, image).map(|auth| auth.username);
        assert_eq!(user("r.example:5000/app:1").as_deref(), Some("u"));
        assert_eq!(user("r.example:5000/team/app:1").as_deref(), Some("x"));
        assert_eq!(user("docker.io/library/busybox:1").as_deref(), Some("d"));
        assert_eq!(user("other/app:1"), None);
    }
}
