//! Images: names, pull policies, and the pull itself.

use naru_cri::{Cri, v1};

use super::memory::StartFailure;
use jiff::Timestamp;

/// A name from which an image can be pulled: with a tag or a digest, and a registry.
///
/// # Errors
/// A sentence, for names that can't be one: upper case, spaces, nothing.
pub fn normalize(image: &str) -> Result<String, String> {
    let invalid = |why: &str| {
        format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format{why}"
        )
    };
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    if !is_repository(repository) {
        let upper = repository.chars().any(char::is_uppercase);
        return Err(invalid(if upper {
            ": repository name must be lowercase"
        } else {
            ""
        }));
    }
    if tag.is_some_and(|tag| !is_tag(tag)) || digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(invalid(""));
    }
    let qualified = qualify(repository);
    Ok(match (tag, digest) {
        (_, Some(digest)) => format!("{qualified}@{digest}"),
        (Some(tag), None) => format!("{qualified}:{tag}"),
        (None, None) => format!("{qualified}:latest"),
    })
}

fn is_repository(name: &str) -> bool {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let host = first.contains(['.', ':']) || first == "localhost";
    let path = if host { rest } else { name };
    let word = |word: &str| {
        !word.is_empty()
            && word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    path.split('/').all(word)
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && !tag.starts_with(['.', '-'])
        && tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

fn qualify(repository: &str) -> String {
    match repository.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            repository.to_owned()
        }
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node lacks it.
    IfNotPresent,
    /// Never.
    Never,
}

/// The policy, which for images tagged `latest` is `Always` unless the spec says otherwise.
pub fn pull_policy(policy: Option<&str>, normalized: &str) -> PullPolicy {
    match policy {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if normalized.ends_with(":latest") => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}

/// What to do about an image: pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImagePlan {
    /// Use what is there.
    Use,
    /// Fetch it.
    Pull,
    /// It may not be fetched and isn't there.
    Refuse,
}

/// Presence and policy decide.
pub fn image_plan(policy: PullPolicy, present: bool) -> ImagePlan {
    match (policy, present) {
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, false) => ImagePlan::Pull,
        (PullPolicy::Never, false) => ImagePlan::Refuse,
        (_, true) => ImagePlan::Use,
    }
}

/// Asks the runtime for an image; `None` when it is absent.
///
/// # Errors
/// The failure to show on the container.
pub async fn find(cri: &Cri, image: &str) -> Result<Option<v1::Image>, StartFailure> {
    let request = v1::ImageStatusRequest {
        image: Some(v1::ImageSpec {
            image: image.to_owned(),
            ..v1::ImageSpec::default()
        }),
        verbose: false,
    };
    match cri.image_status(request).await {
        Ok(response) => Ok(response.image),
        Err(error) => Err(StartFailure {
            reason: "ImageInspectError",
            message: format!("Failed to inspect image \"{image}\": {error}"),
            at: Timestamp::now(),
        }),
    }
}

/// Pulls an image.
///
/// # Errors
/// The failure to show on the container: `ErrImagePull` with the runtime's words.
pub async fn pull(
    cri: &Cri,
    image: &str,
    auth: Option<v1::AuthConfig>,
    sandbox: v1::PodSandboxConfig,
) -> Result<(), StartFailure> {
    let request = v1::PullImageRequest {
        image: Some(v1::ImageSpec {
            image: image.to_owned(),
            ..v1::ImageSpec::default()
        }),
        auth,
        sandbox_config: Some(sandbox),
    };
    match cri.pull_image(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(StartFailure {
            reason: "ErrImagePull",
            message: error.message,
            at: Timestamp::now(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("me/app:1", "docker.io/me/app:1"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            (
                "192.168.77.2:5000/shop/web:2",
                "192.168.77.2:5000/shop/web:2",
            ),
        ] {
            assert_eq!(normalize(short).unwrap(), full);
        }
        let digest = format!("a.b/c@sha256:{}", "0".repeat(64));
        assert_eq!(normalize(&digest).unwrap(), digest);
    }

    #[test]
    fn impossible_names_are_refused() {
        for name in ["", "Upper", "a b", "a:", "a//b", "a@sha256:12", "a:b c"] {
            assert!(normalize(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn policy_and_presence_decide() {
        assert_eq!(pull_policy(None, "a:latest"), PullPolicy::Always);
        assert_eq!(pull_policy(None, "a:1"), PullPolicy::IfNotPresent);
        assert_eq!(image_plan(PullPolicy::Always, true), ImagePlan::Pull);
        assert_eq!(image_plan(PullPolicy::IfNotPresent, true), ImagePlan::Use);
        assert_eq!(image_plan(PullPolicy::Never, false), ImagePlan::Refuse);
    }
}
