//! The name of a template: `pod-template-hash`.
//!
//! FNV-1a over the template's JSON with sorted keys, mixed with the collision count, in the
//! alphabet of generated names (no vowels, no look-alikes). Only names depend on it: which
//! ReplicaSet belongs to a template is decided by comparing templates.

use k8s_openapi::api::core::v1::PodTemplateSpec;

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of `template` after `collisions` names were found taken.
pub fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let value = serde_json::to_value(template).expect("API types encode to JSON");
    let hash = fnv1a(value.to_string().bytes().chain(collisions.to_le_bytes()));
    encode(hash)
}

fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Ten characters, of which the last ones carry the most of the hash's spread.
fn encode(mut hash: u64) -> String {
    let base = ALPHABET.len() as u64;
    let mut text = String::with_capacity(10);
    for _ in 0..10 {
        text.push(char::from(ALPHABET[(hash % base) as usize]));
        hash /= base;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::template_hash;
    use k8s_openapi::api::core::v1::PodTemplateSpec;
    use serde_json::json;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}}))
            .unwrap()
    }

    #[test]
    fn the_hash_is_stable_across_releases() {
        assert_eq!(template_hash(&template("web:1"), 0), "6tpb4k9xts");
    }

    #[test]
    fn templates_and_collisions_get_different_names() {
        let names =
            [("a", 0), ("b", 0), ("a", 1)].map(|(image, n)| template_hash(&template(image), n));
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
        assert!(names.iter().all(|name| name.len() == 10));
    }
}
