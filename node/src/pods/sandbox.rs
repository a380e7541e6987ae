//! From a pod to the runtime's description of its sandbox: pure.

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec, SecurityContext};
use naru_cri::v1;

use super::containers;
use super::names::{self, Dirs, PodId};
use super::plan::{DEFAULT_GRACE, spec};

/// What sandboxes of this node have in common.
#[derive(Debug, Clone)]
pub struct SandboxFacts {
    /// Name of the node, the host name of pods in its network.
    pub node_name: String,
    /// Parent of the pods' cgroups as the runtime names it.
    pub cgroup_parent: String,
    /// The node's own resolver configuration, for pods that bypass the cluster's.
    pub node_dns: v1::DnsConfig,
    /// Address of the cluster DNS.
    pub cluster_dns: Option<IpAddr>,
    /// The cluster's domain, without a trailing dot.
    pub cluster_domain: String,
}

/// The runtime's description of the pod's sandbox number `attempt`.
pub fn sandbox_config(
    pod: &Pod,
    attempt: u32,
    facts: &SandboxFacts,
    dirs: &Dirs,
) -> v1::PodSandboxConfig {
    let id = PodId::of(pod);
    let spec = spec(pod);
    let grace = spec
        .termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE);
    let mut labels: HashMap<_, _> = pod
        .metadata
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    labels.extend(id.labels(None));
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: id.name.clone(),
            uid: id.uid.clone(),
            namespace: id.namespace.clone(),
            attempt,
        }),
        // With the host's network the host name is the host's too, and the runtime must not set it.
        hostname: if is_host_network(spec) {
            String::new()
        } else {
            hostname(pod)
        },
        log_directory: dirs.logs(&id).to_string_lossy().into_owned(),
        dns_config: Some(dns_config(pod, facts)),
        port_mappings: port_mappings(spec),
        labels,
        annotations: HashMap::from([(names::GRACE_PERIOD.to_owned(), grace.to_string())]),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup(&facts.cgroup_parent, &id.uid),
            security_context: Some(security(pod)),
            sysctls: sysctls(spec),
        }),
    }
}

/// The pod's cgroup, below the node's.
pub fn cgroup(parent: &str, uid: &str) -> String {
    format!("{}/pod{uid}", parent.trim_end_matches('/'))
}

/// The pod shares the node's network namespace.
pub fn is_host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

/// The pod's host name: what the spec says, else its name cut to the 63 bytes of a DNS label.
pub fn hostname(pod: &Pod) -> String {
    let wanted = spec(pod).hostname.clone().filter(|name| !name.is_empty());
    let name = wanted.unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's fully qualified name, for pods with a subdomain.
pub fn fqdn(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let subdomain = spec(pod)
        .subdomain
        .as_deref()
        .filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!(
        "{}.{subdomain}.{namespace}.svc.{cluster_domain}",
        hostname(pod)
    ))
}

/// Namespaces of the sandbox and of every container in it.
pub fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let node_or = |host: Option<bool>, own: v1::NamespaceMode| match host {
        Some(true) => v1::NamespaceMode::Node as i32,
        _ => own as i32,
    };
    let pid = match spec.share_process_namespace {
        Some(true) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: node_or(spec.host_network, v1::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, v1::NamespaceMode::Pod),
        target_id: String::new(),
    }
}

fn security(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let spec = spec(pod);
    let context = spec.security_context.clone().unwrap_or_default();
    let groups = context
        .fs_group
        .into_iter()
        .chain(context.supplemental_groups.into_iter().flatten());
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: context.run_as_user.map(|value| v1::Int64Value { value }),
        run_as_group: context
            .run_as_group
            .filter(|_| context.run_as_user.is_some())
            .map(|value| v1::Int64Value { value }),
        supplemental_groups: groups.collect(),
        // The runtime asks for it whenever a privileged container is made.
        privileged: containers::all(pod).any(|c| is_privileged(c.security_context.as_ref())),
        seccomp: Some(v1::SecurityProfile::default()),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

/// The container may do everything to the machine.
pub fn is_privileged(context: Option<&SecurityContext>) -> bool {
    context.and_then(|context| context.privileged) == Some(true)
}

fn sysctls(spec: &PodSpec) -> HashMap<String, String> {
    let context = spec.security_context.iter();
    let list = context.flat_map(|context| context.sysctls.iter().flatten());
    list.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()))
        .collect()
}

fn port_mappings(spec: &PodSpec) -> Vec<v1::PortMapping> {
    let ports = spec
        .containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten());
    ports
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// The contents of the pod's `/etc/resolv.conf`.
pub fn dns_config(pod: &Pod, facts: &SandboxFacts) -> v1::DnsConfig {
    let spec = spec(pod);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut config = match spec.dns_policy.as_deref() {
        Some("None") => v1::DnsConfig::default(),
        Some("Default") => facts.node_dns.clone(),
        Some("ClusterFirstWithHostNet") => cluster_first(namespace, facts),
        _ if is_host_network(spec) => facts.node_dns.clone(),
        _ => cluster_first(namespace, facts),
    };
    let Some(extra) = &spec.dns_config else {
        return config;
    };
    append(&mut config.servers, extra.nameservers.iter().flatten());
    append(&mut config.searches, extra.searches.iter().flatten());
    for option in extra.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        config
            .options
            .retain(|old| old.split(':').next() != Some(&name));
        config.options.push(match &option.value {
            Some(value) => format!("{name}:{value}"),
            None => name,
        });
    }
    config
}

fn append<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn cluster_first(namespace: &str, facts: &SandboxFacts) -> v1::DnsConfig {
    let domain = &facts.cluster_domain;
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    append(&mut searches, facts.node_dns.searches.iter());
    v1::DnsConfig {
        servers: facts.cluster_dns.iter().map(IpAddr::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

/// Reads a `resolv.conf` (resolv.conf(5)).
pub fn parse_resolv_conf(text: &str) -> v1::DnsConfig {
    let mut config = v1::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default();
        let rest: Vec<String> = words.map(ToOwned::to_owned).collect();
        match key {
            "nameserver" => config.servers.extend(rest.into_iter().take(1)),
            "search" | "domain" => {
                config.searches = rest.into_iter().filter(|s| s != ".").collect()
            }
            "options" => config.options = rest,
            _ => {}
        }
    }
    config
}

/// The contents of the pod's `/etc/hosts`. With the host's network it is the host's file.
pub fn hosts_file(pod: &Pod, ips: &[IpAddr], node_hosts: &str, cluster_domain: &str) -> String {
    let mut text = match is_host_network(spec(pod)) {
        true => node_hosts.to_owned(),
        false => own_hosts(pod, ips, cluster_domain),
    };
    for alias in spec(pod).host_aliases.iter().flatten() {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

fn own_hosts(pod: &Pod, ips: &[IpAddr], cluster_domain: &str) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let name = hostname(pod);
    for ip in ips {
        let line = match fqdn(pod, cluster_domain) {
            Some(fqdn) => format!("{ip}\t{fqdn}\t{name}\n"),
            None => format!("{ip}\t{name}\n"),
        };
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> SandboxFacts {
        SandboxFacts {
            node_name: "node1".into(),
            cgroup_parent: "/naru/".into(),
            node_dns: parse_resolv_conf(
                "search example.org\nnameserver 192.0.2.1\noptions edns0\n",
            ),
            cluster_dns: "10.96.0.10".parse().ok(),
            cluster_domain: "cluster.local".into(),
        }
    }

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
            "spec": spec
        }))
        .unwrap()
    }

    fn config(spec: serde_json::Value) -> v1::PodSandboxConfig {
        sandbox_config(
            &pod(spec),
            2,
            &facts(),
            &Dirs::new(std::path::Path::new("/state")),
        )
    }

    #[test]
    fn identity_cgroup_and_logs_follow_the_uid() {
        let config = config(serde_json::json!({"containers": []}));
        assert_eq!(config.labels[names::POD_UID], "u1");
        assert_eq!(config.labels["app"], "web");
        assert_eq!(config.metadata.unwrap().attempt, 2);
        assert_eq!(config.linux.unwrap().cgroup_parent, "/naru/podu1");
        assert_eq!(config.log_directory, "/state/logs/shop_web-0_u1");
        assert_eq!(config.hostname, "web-0");
    }

    #[test]
    fn pods_on_the_host_network_have_no_host_name_and_the_nodes_resolver() {
        let config = config(serde_json::json!({"containers": [], "hostNetwork": true}));
        assert_eq!(config.hostname, "");
        assert_eq!(config.dns_config.unwrap().servers, ["192.0.2.1"]);
        let options = config
            .linux
            .unwrap()
            .security_context
            .unwrap()
            .namespace_options
            .unwrap();
        assert_eq!(options.network(), v1::NamespaceMode::Node);
    }

    #[test]
    fn cluster_first_searches_the_cluster_then_the_node() {
        let dns = config(serde_json::json!({"containers": []}))
            .dns_config
            .unwrap();
        assert_eq!(dns.servers, ["10.96.0.10"]);
        assert_eq!(
            dns.searches,
            [
                "shop.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
                "example.org"
            ]
        );
        assert_eq!(dns.options, ["ndots:5"]);
    }

    #[test]
    fn policy_none_takes_the_specs_own_and_options_replace() {
        let own = serde_json::json!({"nameservers": ["192.0.2.9"], "options": [{"name": "ndots", "value": "2"}]});
        let none = serde_json::json!({"containers": [], "dnsPolicy": "None", "dnsConfig": own});
        let dns = config(none).dns_config.unwrap();
        assert_eq!(
            (dns.servers, dns.options),
            (vec!["192.0.2.9".into()], vec!["ndots:2".into()])
        );
        let first = serde_json::json!({"containers": [], "dnsConfig": own});
        let dns = config(first).dns_config.unwrap();
        assert_eq!(dns.servers, ["10.96.0.10", "192.0.2.9"]);
        assert_eq!(dns.options, ["ndots:2"]);
    }

    #[test]
    fn hosts_file_names_the_pod_and_its_aliases() {
        let pod = pod(serde_json::json!({"containers": [], "subdomain": "db",
            "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]}));
        let text = hosts_file(&pod, &["10.244.1.2".parse().unwrap()], "", "cluster.local");
        assert!(text.contains("10.244.1.2\tweb-0.db.shop.svc.cluster.local\tweb-0\n"));
        assert!(text.contains("192.0.2.7\ta\tb\n"));
    }

    #[test]
    fn long_names_are_cut_to_a_label() {
        let mut pod = pod(serde_json::json!({"containers": []}));
        pod.metadata.name = Some(format!("{}-tail", "a".repeat(62)));
        assert_eq!(hostname(&pod), "a".repeat(62));
    }
}
