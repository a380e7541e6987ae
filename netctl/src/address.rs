//! What a user wrote as the target of a connection, and what it stands for. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};

/// Why a target can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// No `:PORT` at the end.
    #[error("{0:?} has no port: write NAME:PORT or IP:PORT")]
    NoPort(String),
    /// Too many parts, or an empty one.
    #[error("{0:?} is not a name: write NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME")]
    Name(String),
    /// The kind is none of those known.
    #[error("{0:?} is no kind known here: use svc/, pod/ or deploy/")]
    Kind(String),
    /// An address needs a number.
    #[error("{0:?} is not a port number")]
    Port(String),
    /// The Service has no such port.
    #[error("Service {service} has no port {port}; it has {known}")]
    NoServicePort {
        /// The Service.
        service: String,
        /// What was asked for.
        port: String,
        /// What there is.
        known: String,
    },
    /// The pod has no port of this name.
    #[error("pod {pod} has no port named {port:?}")]
    NoPodPort {
        /// The pod.
        pod: String,
        /// What was asked for.
        port: String,
    },
    /// The Service stands for a name outside.
    #[error("Service {0} is another name for {1}: ask about an address of that")]
    Alias(String, String),
    /// Nothing to connect to.
    #[error("{0} has no address")]
    NoAddress(String),
}

/// A kind in front of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Service,
    Pod,
    /// Stands for one of its pods, as a source.
    Deployment,
}

/// A name with what may stand before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: Option<Kind>,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Name {
    /// Reads `[KIND/][NAMESPACE/]NAME`. A first part that is a kind is read as one.
    pub(crate) fn parse(text: &str, default_namespace: &str) -> Result<Self, TargetError> {
        let malformed = || TargetError::Name(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(malformed());
        }
        let (kind, namespace, name) = match parts.as_slice() {
            [name] => (None, default_namespace, *name),
            [first, name] => match kind(first) {
                Some(kind) => (Some(kind), default_namespace, *name),
                None => (None, *first, *name),
            },
            [first, namespace, name] => {
                let kind = kind(first).ok_or_else(|| TargetError::Kind((*first).to_owned()))?;
                (Some(kind), *namespace, *name)
            }
            _ => return Err(malformed()),
        };
        Ok(Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

fn kind(text: &str) -> Option<Kind> {
    match text.to_ascii_lowercase().as_str() {
        "svc" | "service" | "services" => Some(Kind::Service),
        "po" | "pod" | "pods" => Some(Kind::Pod),
        "deploy" | "deployment" | "deployments" => Some(Kind::Deployment),
        _ => None,
    }
}

/// A target as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address and a port.
    Address(IpAddr, u16),
    /// A name and a port, which may be a name too.
    Named(Name, String),
}

impl Target {
    /// Reads `IP:PORT`, `[IPv6]:PORT` or `NAME:PORT`.
    pub(crate) fn parse(text: &str, default_namespace: &str) -> Result<Self, TargetError> {
        let split = text.rsplit_once(':').filter(|(_, port)| !port.is_empty());
        let Some((host, port)) = split else {
            return Err(TargetError::NoPort(text.to_owned()));
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        // Without brackets the last group of an IPv6 address would pass for a port.
        let is_address = bare.is_some() || !host.contains(':');
        match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) if is_address => Ok(Self::Address(ip, number(port)?)),
            Ok(_) => Err(TargetError::NoPort(text.to_owned())),
            Err(_) => Ok(Self::Named(
                Name::parse(host, default_namespace)?,
                port.to_owned(),
            )),
        }
    }
}

fn number(port: &str) -> Result<u16, TargetError> {
    let parsed = port.parse().ok().filter(|port| *port != 0);
    parsed.ok_or_else(|| TargetError::Port(port.to_owned()))
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// As a person would call it.
    pub(crate) label: String,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    /// `TCP` or `UDP`, if the object says.
    pub(crate) protocol: Option<String>,
}

/// A Service's cluster address and port. `None` for a Service without one (headless, alias).
pub(crate) fn of_service(
    service: &Service,
    port: &str,
) -> Result<Option<Destination>, TargetError> {
    let label = label(&service.metadata);
    let spec = service.spec.clone().unwrap_or_default();
    if let Some(alias) = spec.external_name.filter(|alias| !alias.is_empty()) {
        return Err(TargetError::Alias(label, alias));
    }
    let ports = spec.ports.unwrap_or_default();
    let is_asked = |known: &&k8s_openapi::api::core::v1::ServicePort| {
        known.name.as_deref() == Some(port) || known.port.to_string() == port
    };
    let Some(found) = ports.iter().find(is_asked) else {
        let known: Vec<String> = ports
            .iter()
            .map(|it| {
                it.name
                    .as_ref()
                    .map_or(it.port.to_string(), |name| format!("{}({name})", it.port))
            })
            .collect();
        let (port, known) = (port.to_owned(), known.join(", "));
        return Err(TargetError::NoServicePort {
            service: label,
            port,
            known,
        });
    };
    let ip = spec.cluster_ip.and_then(|ip| ip.parse().ok());
    let number = u16::try_from(found.port).map_err(|_| TargetError::Port(port.to_owned()))?;
    let protocol = found.protocol.clone();
    Ok(ip.map(|ip| Destination {
        label: format!("service {label}"),
        ip,
        port: number,
        protocol,
    }))
}

/// A pod's address and port.
pub(crate) fn of_pod(pod: &Pod, port: &str) -> Result<Destination, TargetError> {
    let label = label(&pod.metadata);
    let ip = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref()?.parse().ok());
    let ip = ip.ok_or_else(|| TargetError::NoAddress(format!("pod {label}")))?;
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|known| known.name.as_deref() == Some(port));
    let (number, protocol) = match named {
        Some(known) => (
            u16::try_from(known.container_port).ok(),
            known.protocol.clone(),
        ),
        None => (number(port).ok(), None),
    };
    let missing = || TargetError::NoPodPort {
        pod: label.clone(),
        port: port.to_owned(),
    };
    let port = number.ok_or_else(missing)?;
    Ok(Destination {
        label: format!("pod {label}"),
        ip,
        port,
        protocol,
    })
}

fn label(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or(""),
        meta.name.as_deref().unwrap_or("")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn name(kind: Option<Kind>, namespace: &str, name: &str) -> Name {
        Name {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_service_that_is_another_name_has_no_port_of_its_own() {
        let service: Service = from_value(json!({"metadata": {"namespace": "shop", "name": "ext"},
            "spec": {"type": "ExternalName", "externalName": "example.com"}}))
        .unwrap();
        assert_eq!(
            of_service(&service, "80"),
            Err(TargetError::Alias("shop/ext".into(), "example.com".into()))
        );
    }

    #[test]
    fn names_have_an_optional_kind_and_namespace() {
        let parse = |text| Name::parse(text, "here");
        assert_eq!(parse("web"), Ok(name(None, "here", "web")));
        assert_eq!(parse("shop/web"), Ok(name(None, "shop", "web")));
        assert_eq!(
            parse("svc/web"),
            Ok(name(Some(Kind::Service), "here", "web"))
        );
        assert_eq!(
            parse("deploy/web"),
            Ok(name(Some(Kind::Deployment), "here", "web"))
        );
        assert_eq!(
            parse("Pod/shop/web"),
            Ok(name(Some(Kind::Pod), "shop", "web"))
        );
        assert_eq!(
            parse("node/shop/web"),
            Err(TargetError::Kind("node".into()))
        );
        assert!(parse("a//b").is_err() && parse("a/b/c/d").is_err() && parse("").is_err());
    }

    #[test]
    fn targets_are_addresses_or_names_with_a_port() {
        let parse = |text| Target::parse(text, "here");
        assert_eq!(
            parse("10.0.0.1:80"),
            Ok(Target::Address("10.0.0.1".parse().unwrap(), 80))
        );
        assert_eq!(
            parse("[fd00::1]:80"),
            Ok(Target::Address("fd00::1".parse().unwrap(), 80))
        );
        assert_eq!(
            parse("web:http"),
            Ok(Target::Named(name(None, "here", "web"), "http".into()))
        );
        for text in ["web", "10.0.0.1", "web:", "fd00::1:80"] {
            assert_eq!(parse(text), Err(TargetError::NoPort(text.into())), "{text}");
        }
        assert_eq!(
            parse("10.0.0.1:http"),
            Err(TargetError::Port("http".into()))
        );
        assert_eq!(parse("10.0.0.1:0"), Err(TargetError::Port("0".into())));
    }

    fn service(cluster_ip: &str) -> Service {
        from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {
            "clusterIP": cluster_ip,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}))
        .unwrap()
    }

    #[test]
    fn a_service_port_is_found_by_name_or_number() {
        let by = |port| of_service(&service("10.96.0.9"), port).unwrap().unwrap();
        assert_eq!((by("http").port, by("80").port), (80, 80));
        assert_eq!(by("53").protocol.as_deref(), Some("UDP"));
        assert_eq!(by("80").label, "service shop/web");
        assert_eq!(of_service(&service("None"), "80"), Ok(None));
        let error = of_service(&service("10.96.0.9"), "81").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Service shop/web has no port 81; it has 80(http), 53"
        );
    }

    #[test]
    fn a_pod_has_an_address_and_named_ports() {
        let pod: Pod = from_value(json!({"metadata": {"name": "web-1", "namespace": "shop"},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": "10.244.0.5"}}))
        .unwrap();
        assert_eq!(of_pod(&pod, "http").unwrap().port, 8080);
        assert_eq!(of_pod(&pod, "9").unwrap().port, 9);
        assert!(of_pod(&pod, "smtp").is_err());
        assert_eq!(
            of_pod(&Pod::default(), "9"),
            Err(TargetError::NoAddress("pod /".into()))
        );
    }
}
