//! A container's environment: pure, from the spec and the objects it refers to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVar, EnvVarSource, Pod, Secret, Service,
};

use super::expand::expand;
use super::fields;
use super::plan::spec;

/// Objects by name, as far as they exist.
pub trait Objects {
    /// A ConfigMap of the pod's namespace.
    fn config_map(&self, name: &str) -> Option<&ConfigMap>;
    /// A Secret of the pod's namespace.
    fn secret(&self, name: &str) -> Option<&Secret>;
}

/// Why an environment can't be made: the container waits with `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvError {
    /// An object that is not optional is absent.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object lacks a key that is not optional.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The object's namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A field or resource reference that means nothing.
    #[error("{0}")]
    Field(#[from] fields::FieldError),
}

/// Names of the ConfigMaps and Secrets that a container's environment needs.
pub fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container
        .env
        .iter()
        .flatten()
        .filter_map(|var| var.value_from.as_ref())
    {
        maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    (maps, secrets)
}

/// The environment, in the order of definition; a later definition of a name wins.
///
/// # Errors
/// The first reference that can't be resolved and isn't optional.
pub fn environment(
    pod: &Pod,
    container: &Container,
    ips: &fields::Addresses,
    services: &[impl AsRef<Service>],
    objects: &impl Objects,
) -> Result<Vec<(String, String)>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = spec(pod).enable_service_links != Some(false);
    let mut known: BTreeMap<String, String> = service_variables(services, namespace, links);
    let mut order: Vec<String> = known.keys().cloned().collect();
    for (name, value) in from_sources(container, objects)? {
        remember(&mut known, &mut order, name, value);
    }
    for var in container.env.iter().flatten() {
        if let Some(value) = value_of(pod, container, ips, var, &known, objects)? {
            remember(&mut known, &mut order, var.name.clone(), value);
        }
    }
    Ok(order
        .into_iter()
        .map(|name| {
            let value = known.remove(&name).unwrap_or_default();
            (name, value)
        })
        .collect())
}

fn remember(
    known: &mut BTreeMap<String, String>,
    order: &mut Vec<String>,
    name: String,
    value: String,
) {
    if known.insert(name.clone(), value).is_none() {
        order.push(name);
    }
}

fn from_sources(
    container: &Container,
    objects: &impl Objects,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut all = Vec::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let entries = entries(from, objects)?;
        all.extend(
            entries
                .into_iter()
                .map(|(key, value)| (format!("{prefix}{key}"), value)),
        );
    }
    Ok(all)
}

fn entries(
    from: &EnvFromSource,
    objects: &impl Objects,
) -> Result<BTreeMap<String, String>, EnvError> {
    if let Some(reference) = &from.config_map_ref {
        let name = &reference.name;
        return match objects.config_map(name) {
            Some(map) => Ok(map.data.clone().unwrap_or_default()),
            None if reference.optional == Some(true) => Ok(BTreeMap::new()),
            None => Err(EnvError::NotFound {
                kind: "configmap",
                name: name.clone(),
            }),
        };
    }
    let Some(reference) = &from.secret_ref else {
        return Ok(BTreeMap::new());
    };
    match objects.secret(&reference.name) {
        Some(secret) => Ok(secret_text(secret)),
        None if reference.optional == Some(true) => Ok(BTreeMap::new()),
        None => Err(EnvError::NotFound {
            kind: "secret",
            name: reference.name.clone(),
        }),
    }
}

fn secret_text(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned()))
        .collect()
}

fn value_of(
    pod: &Pod,
    container: &Container,
    ips: &fields::Addresses,
    var: &EnvVar,
    known: &BTreeMap<String, String>,
    objects: &impl Objects,
) -> Result<Option<String>, EnvError> {
    match &var.value_from {
        None => {
            let text = var.value.as_deref().unwrap_or_default();
            Ok(Some(expand(text, |name| {
                known.get(name).map(String::as_str)
            })))
        }
        Some(source) => referred(pod, container, ips, source, objects),
    }
}

fn referred(
    pod: &Pod,
    container: &Container,
    ips: &fields::Addresses,
    source: &EnvVarSource,
    objects: &impl Objects,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        return Ok(Some(fields::field(pod, &field.field_path, ips)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(fields::resource(pod, container, resource, ips)?));
    }
    let namespace = || pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(wanted) = &source.config_map_key_ref {
        let optional = wanted.optional == Some(true);
        let map = objects.config_map(&wanted.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&wanted.key).cloned());
        return required(
            value,
            map.is_some(),
            optional,
            ["configmap", "ConfigMap"],
            || (namespace(), wanted.name.clone(), wanted.key.clone()),
        );
    }
    let Some(wanted) = &source.secret_key_ref else {
        return Ok(Some(String::new()));
    };
    let optional = wanted.optional == Some(true);
    let secret = objects.secret(&wanted.name);
    let value = secret.and_then(|secret| secret_text(secret).remove(&wanted.key));
    required(
        value,
        secret.is_some(),
        optional,
        ["secret", "Secret"],
        || (namespace(), wanted.name.clone(), wanted.key.clone()),
    )
}

fn required(
    value: Option<String>,
    exists: bool,
    optional: bool,
    kind: [&'static str; 2],
    what: impl FnOnce() -> (String, String, String),
) -> Result<Option<String>, EnvError> {
    if value.is_some() || optional {
        return Ok(value);
    }
    let (namespace, name, key) = what();
    Err(match exists {
        false => EnvError::NotFound {
            kind: kind[0],
            name,
        },
        true => EnvError::NoKey {
            key,
            kind: kind[1],
            namespace,
            name,
        },
    })
}

/// Variables that tell where services are: always the API server's, and with `links` those of
/// every service of the namespace.
fn service_variables(
    services: &[impl AsRef<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let service = service.as_ref();
        let meta = &service.metadata;
        let is_master = meta.namespace.as_deref() == Some("default")
            && meta.name.as_deref() == Some("kubernetes");
        let is_linked = links && meta.namespace.as_deref() == Some(namespace);
        if is_master || is_linked {
            one_service(service, &mut variables);
        }
    }
    variables
}

fn one_service(service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec
        .cluster_ip
        .as_deref()
        .and_then(|ip| ip.parse::<IpAddr>().ok())
    else {
        return;
    };
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let name = name.to_uppercase().replace('-', "_");
    let mut set = |key: String, value: String| variables.insert(key, value);
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let number = port.port;
        if index == 0 {
            set(format!("{name}_SERVICE_HOST"), ip.to_string());
            set(format!("{name}_SERVICE_PORT"), number.to_string());
        }
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            set(
                format!("{name}_SERVICE_PORT_{port_name}"),
                number.to_string(),
            );
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        let host = if ip.is_ipv6() {
            format!("[{ip}]")
        } else {
            ip.to_string()
        };
        let url = format!("{protocol}://{host}:{number}");
        if index == 0 {
            set(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
        set(prefix.clone(), url);
        set(format!("{prefix}_PROTO"), protocol);
        set(format!("{prefix}_PORT"), number.to_string());
        set(format!("{prefix}_ADDR"), ip.to_string());
    }
}

#[cfg(test)]
mod tests;
