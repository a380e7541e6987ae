//! From API objects to the files of a volume: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, VolumeProjection,
};

use super::VolumeError;
use crate::pods::env::Objects;
use crate::pods::fields::{self, Addresses};
use crate::pods::plan::spec;

/// Mode of files when nothing else is said.
pub const DEFAULT_MODE: i32 = 0o644;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// Files by path relative to the volume.
pub type Payload = BTreeMap<String, File>;

/// A token that a projected volume asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenWish {
    /// Who the token is meant for; empty for the API server.
    pub audience: String,
    /// Wanted lifetime in seconds.
    pub seconds: i64,
}

/// What payloads are made from.
pub struct Inputs<'a, O> {
    /// The pod.
    pub pod: &'a Pod,
    /// The objects it refers to.
    pub objects: &'a O,
    /// Addresses and the node's resources.
    pub addresses: &'a Addresses,
    /// Tokens, by wish.
    pub tokens: &'a BTreeMap<TokenWish, String>,
}

/// What a volume source says about its object.
struct Wanted<'a> {
    volume: &'a str,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    mode: i32,
    optional: bool,
}

/// The files of a volume, if its kind is one that is made of files; `None` for other kinds.
///
/// # Errors
/// A missing object or key that isn't optional, or a path that leaves the volume.
pub fn payload<O: Objects>(
    inputs: &Inputs<'_, O>,
    volume: &k8s_openapi::api::core::v1::Volume,
) -> Result<Option<Payload>, VolumeError> {
    let name = volume.name.as_str();
    if let Some(source) = &volume.config_map {
        let wanted = Wanted {
            volume: name,
            name: &source.name,
            items: source.items.as_deref(),
            mode: source.default_mode.unwrap_or(DEFAULT_MODE),
            optional: source.optional == Some(true),
        };
        return config_map(inputs, &wanted).map(Some);
    }
    if let Some(source) = &volume.secret {
        let wanted = Wanted {
            volume: name,
            name: source.secret_name.as_deref().unwrap_or_default(),
            items: source.items.as_deref(),
            mode: source.default_mode.unwrap_or(DEFAULT_MODE),
            optional: source.optional == Some(true),
        };
        return secret(inputs, &wanted).map(Some);
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        return downward(inputs, name, source.items.iter().flatten(), mode).map(Some);
    }
    let Some(projected) = &volume.projected else {
        return Ok(None);
    };
    let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
    let mut all = Payload::new();
    for source in projected.sources.iter().flatten() {
        all.extend(projection(inputs, name, source, mode)?);
    }
    Ok(Some(all))
}

fn projection<O: Objects>(
    inputs: &Inputs<'_, O>,
    volume: &str,
    source: &VolumeProjection,
    mode: i32,
) -> Result<Payload, VolumeError> {
    if let Some(source) = &source.config_map {
        let optional = source.optional == Some(true);
        let items = source.items.as_deref();
        return config_map(
            inputs,
            &Wanted {
                volume,
                name: &source.name,
                items,
                mode,
                optional,
            },
        );
    }
    if let Some(source) = &source.secret {
        let optional = source.optional == Some(true);
        let items = source.items.as_deref();
        return secret(
            inputs,
            &Wanted {
                volume,
                name: &source.name,
                items,
                mode,
                optional,
            },
        );
    }
    if let Some(source) = &source.downward_api {
        return downward(inputs, volume, source.items.iter().flatten(), mode);
    }
    let Some(source) = &source.service_account_token else {
        return Ok(Payload::new());
    };
    let wish = wish(source.audience.as_deref(), source.expiration_seconds);
    let token = inputs.tokens.get(&wish).ok_or_else(|| VolumeError::Token {
        volume: volume.to_owned(),
        message: "not issued".to_owned(),
    })?;
    // A group of the pod's that shares its volumes must be able to read the token.
    let mode = if reads_by_group(inputs.pod) {
        0o640
    } else {
        mode
    };
    single(volume, &source.path, token.clone().into_bytes(), mode)
}

fn reads_by_group(pod: &Pod) -> bool {
    spec(pod)
        .security_context
        .as_ref()
        .is_some_and(|context| context.fs_group.is_some())
}

fn wish(audience: Option<&str>, seconds: Option<i64>) -> TokenWish {
    TokenWish {
        audience: audience.unwrap_or_default().to_owned(),
        seconds: seconds.unwrap_or(3600),
    }
}

/// The tokens a pod's volumes ask for.
pub fn token_wishes(pod: &Pod) -> Vec<TokenWish> {
    let volumes = spec(pod).volumes.iter().flatten();
    let sources = volumes
        .flat_map(|v| v.projected.iter())
        .flat_map(|p| p.sources.iter().flatten());
    let tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    tokens
        .map(|t| wish(t.audience.as_deref(), t.expiration_seconds))
        .collect()
}

fn config_map<O: Objects>(
    inputs: &Inputs<'_, O>,
    wanted: &Wanted<'_>,
) -> Result<Payload, VolumeError> {
    match inputs.objects.config_map(wanted.name) {
        Some(map) => select(wanted, "ConfigMap", map_entries(map)),
        None => absent(wanted, "configmap"),
    }
}

fn secret<O: Objects>(inputs: &Inputs<'_, O>, wanted: &Wanted<'_>) -> Result<Payload, VolumeError> {
    match inputs.objects.secret(wanted.name) {
        Some(secret) => select(wanted, "Secret", secret_entries(secret)),
        None => absent(wanted, "secret"),
    }
}

fn absent(wanted: &Wanted<'_>, kind: &'static str) -> Result<Payload, VolumeError> {
    if wanted.optional {
        return Ok(Payload::new());
    }
    Err(VolumeError::NotFound {
        volume: wanted.volume.to_owned(),
        kind,
        name: wanted.name.to_owned(),
    })
}

fn map_entries(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten();
    let text = text.map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten();
    text.chain(binary.map(|(key, value)| (key.clone(), value.0.clone())))
        .collect()
}

fn secret_entries(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), value.0.clone()))
        .collect()
}

/// All entries under their keys, or the chosen ones under their paths.
fn select(
    wanted: &Wanted<'_>,
    kind: &'static str,
    mut entries: BTreeMap<String, Vec<u8>>,
) -> Result<Payload, VolumeError> {
    let mut files = Payload::new();
    let Some(items) = wanted.items.filter(|items| !items.is_empty()) else {
        for (key, bytes) in entries {
            files.extend(single(wanted.volume, &key, bytes, wanted.mode)?);
        }
        return Ok(files);
    };
    for item in items {
        match entries.remove(&item.key) {
            Some(bytes) => {
                let mode = item.mode.unwrap_or(wanted.mode);
                files.extend(single(wanted.volume, &item.path, bytes, mode)?);
            }
            None if wanted.optional => {}
            None => {
                return Err(VolumeError::NoKey {
                    volume: wanted.volume.to_owned(),
                    kind,
                    name: wanted.name.to_owned(),
                    key: item.key.clone(),
                });
            }
        }
    }
    Ok(files)
}

fn downward<'a, O: Objects>(
    inputs: &Inputs<'_, O>,
    volume: &str,
    items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    mode: i32,
) -> Result<Payload, VolumeError> {
    let mut files = Payload::new();
    for item in items {
        let text = downward_text(inputs, item).map_err(|source| VolumeError::Field {
            volume: volume.to_owned(),
            source,
        })?;
        let mode = item.mode.unwrap_or(mode);
        files.extend(single(volume, &item.path, text.into_bytes(), mode)?);
    }
    Ok(files)
}

fn downward_text<O: Objects>(
    inputs: &Inputs<'_, O>,
    item: &DownwardAPIVolumeFile,
) -> Result<String, fields::FieldError> {
    if let Some(reference) = &item.field_ref {
        return fields::field(inputs.pod, &reference.field_path, inputs.addresses);
    }
    let Some(selector) = &item.resource_field_ref else {
        return Ok(String::new());
    };
    let name = selector.container_name.clone().unwrap_or_default();
    let container = spec(inputs.pod).containers.iter().find(|c| c.name == name);
    let container = container.ok_or(fields::FieldError::Resource(name))?;
    fields::resource(inputs.pod, container, selector, inputs.addresses)
}

fn single(volume: &str, path: &str, bytes: Vec<u8>, mode: i32) -> Result<Payload, VolumeError> {
    if !is_inside(path) {
        return Err(VolumeError::Path {
            volume: volume.to_owned(),
            path: path.to_owned(),
        });
    }
    let mode = u32::try_from(mode).unwrap_or(0o644) & 0o777;
    Ok(Payload::from([(path.to_owned(), File { bytes, mode })]))
}

/// A relative path that stays in its volume and doesn't touch the names reserved for the swap.
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.starts_with("..")
        && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::fields::Allocatable;

    struct One(ConfigMap);
    impl Objects for One {
        fn config_map(&self, name: &str) -> Option<&ConfigMap> {
            (name == "cfg").then_some(&self.0)
        }
        fn secret(&self, _: &str) -> Option<&Secret> {
            None
        }
    }

    fn run(volume: serde_json::Value) -> Result<Payload, VolumeError> {
        let map = serde_json::from_value(json!({"data": {"a": "1", "b": "2"}})).unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"app": "x"}}, "spec": {"containers": []}}))
        .unwrap();
        let addresses = Addresses {
            pod: Vec::new(),
            node: vec!["192.0.2.1".parse().unwrap()],
            allocatable: Allocatable::default(),
        };
        let tokens = BTreeMap::from([(wish(None, None), "tok".to_owned())]);
        let inputs = Inputs {
            pod: &pod,
            objects: &One(map),
            addresses: &addresses,
            tokens: &tokens,
        };
        payload(&inputs, &serde_json::from_value(volume).unwrap()).map(Option::unwrap)
    }

    #[test]
    fn all_keys_or_the_chosen_ones_become_files() {
        let all = run(json!({"name": "v", "configMap": {"name": "cfg"}})).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        let chosen = run(
            json!({"name": "v", "configMap": {"name": "cfg", "defaultMode": 256,
            "items": [{"key": "b", "path": "x/y"}]}}),
        )
        .unwrap();
        assert_eq!(
            chosen["x/y"],
            File {
                bytes: b"2".to_vec(),
                mode: 0o400
            }
        );
        assert_eq!(chosen.len(), 1);
    }

    #[test]
    fn absence_is_an_error_unless_optional() {
        let missing = run(json!({"name": "v", "secret": {"secretName": "none"}}));
        assert_eq!(
            missing.unwrap_err().to_string(),
            "secret \"none\" not found"
        );
        let optional =
            run(json!({"name": "v", "secret": {"secretName": "none", "optional": true}}));
        assert!(optional.unwrap().is_empty());
        let key = run(
            json!({"name": "v", "configMap": {"name": "cfg", "items": [{"key": "z", "path": "z"}]}}),
        );
        assert!(
            key.unwrap_err()
                .to_string()
                .contains("non-existent config key: z")
        );
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        for path in ["../x", "/etc/passwd", "a/../../b", "..data"] {
            let volume = json!({"name": "v", "configMap": {"name": "cfg", "items": [{"key": "a", "path": path}]}});
            assert!(run(volume).is_err(), "{path}");
        }
    }

    #[test]
    fn projections_join_tokens_maps_and_fields() {
        let files = run(json!({"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "cfg", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}
        ]}})).unwrap();
        assert_eq!(files["token"].bytes, b"tok");
        assert_eq!(files["labels"].bytes, b"app=\"x\"");
        assert_eq!(files.len(), 3);
    }
}
