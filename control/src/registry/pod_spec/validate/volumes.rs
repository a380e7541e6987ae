//! Volumes: names and sources.

use super::containers::relative_path;
use crate::registry::rules::{
    At, Faults, dns_label, dns_subdomain, one_of, range, required, unique,
};

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
];
/// Sources of a projected volume.
const PROJECTED: [&str; 5] = [
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
];
/// Shortest and longest life of a projected token, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=(1 << 32);

/// All volumes of a pod spec.
pub(super) fn validate(spec: &At<'_>, faults: &mut Faults) {
    let volumes = spec.get("volumes");
    for volume in volumes.each() {
        required(&volume.get("name"), faults);
        dns_label(&volume.get("name"), faults);
        source(&volume, faults);
    }
    unique(volumes.each().map(|volume| volume.get("name")), faults);
}

/// Exactly one source. Defaulting has given one to a volume without.
fn source(volume: &At<'_>, faults: &mut Faults) {
    let members = volume.value().as_object();
    let given: Vec<_> = members
        .into_iter()
        .flatten()
        .filter(|(key, value)| *key != "name" && !value.is_null())
        .map(|(key, _)| volume.get(key))
        .collect();
    for extra in given.iter().skip(1) {
        faults.forbidden(extra, "may not specify more than 1 volume type");
    }
    let if_set = |kind: &str| Some(volume.get(kind)).filter(At::is_set);
    if let Some(host_path) = if_set("hostPath") {
        host(&host_path, faults);
    }
    if let Some(secret) = if_set("secret") {
        required(&secret.get("secretName"), faults);
        files(&secret, faults);
    }
    if let Some(map) = if_set("configMap") {
        required(&map.get("name"), faults);
        dns_subdomain(&map.get("name"), faults);
        files(&map, faults);
    }
    if let Some(claim) = if_set("persistentVolumeClaim") {
        required(&claim.get("claimName"), faults);
    }
    if let Some(projected) = if_set("projected") {
        range(&projected.get("defaultMode"), 0..=0o777, faults);
        projected
            .get("sources")
            .each()
            .for_each(|source| projection(&source, faults));
    }
}

fn host(host_path: &At<'_>, faults: &mut Faults) {
    let path = host_path.get("path");
    if required(&path, faults) && path.text().split('/').any(|part| part == "..") {
        faults.invalid(&path, "must not contain '..'");
    }
    one_of(&host_path.get("type"), &HOST_PATH_TYPES, faults);
}

/// Modes, and the files into which keys go.
fn files(source: &At<'_>, faults: &mut Faults) {
    range(&source.get("defaultMode"), 0..=0o777, faults);
    for item in source.get("items").each() {
        required(&item.get("key"), faults);
        required(&item.get("path"), faults);
        relative_path(&item.get("path"), faults);
        range(&item.get("mode"), 0..=0o777, faults);
    }
}

fn projection(source: &At<'_>, faults: &mut Faults) {
    let given: Vec<_> = PROJECTED
        .iter()
        .filter(|kind| source.get(kind).is_set())
        .collect();
    for extra in given.iter().skip(1) {
        faults.forbidden(
            &source.get(extra),
            "may not specify more than 1 volume type",
        );
    }
    for kind in ["secret", "configMap"] {
        let at = source.get(kind);
        if at.is_set() {
            required(&at.get("name"), faults);
            files(&at, faults);
        }
    }
    let token = source.get("serviceAccountToken");
    if token.is_set() {
        range(&token.get("expirationSeconds"), TOKEN_SECONDS, faults);
        required(&token.get("path"), faults);
        relative_path(&token.get("path"), faults);
    }
}
