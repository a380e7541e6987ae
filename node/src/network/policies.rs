//! Endpoints, identities and policy: from the API to the maps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS, LIMITED};
use naru_ebpf_common::policy::{EGRESS, INGRESS};
use naru_ebpf_common::{Addr, Endpoint, IpInfo, PodAddrs, PolicyEntry, PolicyKey};

use super::bandwidth::{self, InForce, Rates, Shaper};
use super::names::{Names, Who};
use super::open::now;
use super::takeover::Loop;
use super::trigger::Trigger;
use super::{Attachment, Network, chain};
use crate::PartResult;
use crate::bandwidth::Limits;
use crate::datapath::{Datapath, DatapathError, Prefix, changes};
use crate::ipam::{LeaseKey, first_address};
use crate::ipcache::{
    Class, Entry, Identities, Labels, LocalPod, NodeView, View, classify, prefix,
};
use crate::policy::{Compiled, Policies, Rules, Subject, World, compile};
use crate::watches::{Key, PodInfo, PodPort};

const RESYNC: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(network: Arc<Network>) {
    let watches = Arc::clone(&network.watches);
    watches.network_synced().await;
    let sources = || {
        vec![
            watches.pods.subscribe(),
            watches.own_pods.subscribe(),
            watches.namespaces.subscribe(),
            watches.network_policies.subscribe(),
            watches.cluster_policies.subscribe(),
            watches.nodes.subscribe(),
            network.asked.subscribe(),
            network.readdressed.subscribe(),
        ]
    };
    let mut trigger = Trigger::new(sources(), RESYNC);
    let mut retry = Trigger::new(sources(), RETRY);
    let (mut state, mut shaper) = (None, Shaper::default());
    loop {
        // Read first: what is asked from now on is answered by the next round.
        let asked = *network.asked.borrow();
        let limits = network.shape(&mut shaper).await;
        let outcome = network.reconcile_policies(&mut state, &limits);
        let failed = outcome.is_err();
        network
            .health
            .set("policy", outcome.err().map(|error| chain(error.as_ref())));
        if failed {
            state = None;
            retry.wait().await;
        } else {
            network.programmed.send_replace(asked);
            network.has_filled(Loop::Policies);
            trigger.wait().await;
        }
    }
}

/// What the maps hold, and the numbers that were given.
struct State {
    endpoints: HashMap<Addr, Endpoint>,
    ipcache: HashMap<Prefix, IpInfo>,
    policy: HashMap<PolicyKey, PolicyEntry>,
    rates: Rates,
    namespaces: HashMap<u64, PodAddrs>,
    identities: Option<Identities>,
    last_endpoint: u32,
    last_revision: u32,
    /// Pods that left the API while their sandbox still lives.
    known: HashMap<LeaseKey, Arc<PodInfo>>,
}

impl State {
    /// Reads the maps of an earlier round or daemon.
    fn adopt(datapath: &Datapath) -> Result<Self, DatapathError> {
        let endpoints: HashMap<_, _> = datapath.endpoints.entries()?.into_iter().collect();
        let policy: HashMap<_, _> = datapath.policy.entries()?.into_iter().collect();
        let ids = endpoints.values().map(|endpoint: &Endpoint| endpoint.id);
        let ids = ids.chain(policy.keys().map(|key: &PolicyKey| key.endpoint));
        Ok(Self {
            last_endpoint: ids.max().unwrap_or(0),
            last_revision: endpoints
                .values()
                .map(|e| e.policy_revision)
                .max()
                .unwrap_or_else(first_revision),
            ipcache: datapath.ipcache.entries()?.into_iter().collect(),
            rates: bandwidth::adopt(datapath)?,
            endpoints,
            policy,
            namespaces: datapath.namespaces.entries()?.into_iter().collect(),
            identities: None,
            known: HashMap::new(),
        })
    }

    /// Numbers for the classes of `entries`; on the first round those that the map already has.
    fn identify(&mut self, entries: &BTreeMap<IpNet, Entry>) -> &Identities {
        let ipcache = &self.ipcache;
        let identities = self.identities.get_or_insert_with(|| {
            let live = entries
                .keys()
                .filter_map(|net| Some((*net, ipcache.get(&prefix(net))?.identity)));
            let highest = ipcache.values().map(|info| info.identity).max();
            Identities::adopt(&live.collect(), highest.unwrap_or(0), entries)
        });
        identities.resolve(entries);
        identities
    }
}

/// The number that revisions count on from where there are no endpoints. Flows may have outlived them,
/// and must not take another daemon's number for this one's: it counts from a later second.
fn first_revision() -> u32 {
    now() as u32
}

/// A local pod with all that its policy depends on.
struct Local {
    attachment: Attachment,
    /// None when the API does not know the pod: nothing may be said for it, so it gets nothing.
    pod: Option<Arc<PodInfo>>,
}

impl Local {
    fn addresses(&self) -> &[IpAddr] {
        &self.attachment.lease.addresses
    }

    fn by_family(&self) -> PodAddrs {
        let of_family = |v6: bool| {
            let mut addresses = self.addresses().iter();
            let found = addresses.find(|address| address.is_ipv6() == v6);
            found.map_or(Addr::UNSPECIFIED, |address| (*address).into())
        };
        PodAddrs {
            v4: of_family(false),
            v6: of_family(true),
        }
    }

    fn labels(&self) -> Labels {
        Arc::new(
            self.pod
                .as_ref()
                .map(|pod| pod.labels.clone())
                .unwrap_or_default(),
        )
    }
}

impl Network {
    fn reconcile_policies(&self, state: &mut Option<State>, limits: &InForce) -> PartResult {
        let started = Instant::now();
        let state = match state {
            Some(state) => state,
            empty => empty.insert(State::adopt(&self.datapath)?),
        };
        let locals = self.locals(state);
        let pods: Vec<_> = self.watches.pods.sorted().into_values().collect();
        let nodes = self.node_views();
        let policies = Policies {
            network: self.watches.network_policies.sorted(),
            cluster: self.watches.cluster_policies.sorted(),
        };
        let entries = self.classify(&locals, &pods, &nodes, &policies.blocks());
        let identities = state.identify(&entries);
        let desired_ipcache: HashMap<Prefix, IpInfo> = entries
            .iter()
            .map(|(net, entry)| (prefix(net), info(entry, identities)))
            .collect();
        let classes: Vec<(Class, u32)> =
            identities.classes().map(|(c, n)| (c.clone(), n)).collect();
        let world = World {
            namespaces: &self.namespace_labels(),
            classes: &classes,
            ports: &named_ports(&pods, &entries, identities),
        };
        let mut rules = Rules::default();
        let mut desired_policy = HashMap::new();
        let mut compiled = Vec::new();
        for local in &locals {
            let id = state.endpoint_id(local.addresses());
            let result = compile_local(local, id, &policies, &world, &mut rules);
            desired_policy.extend(result.entries.iter().map(|(key, entry)| (*key, *entry)));
            compiled.push((id, result));
        }
        let policy = changes(&state.policy, &desired_policy);
        let ipcache = changes(&state.ipcache, &desired_ipcache);
        let moved = ipcache.put.iter().any(|(prefix, info)| {
            state
                .ipcache
                .get(prefix)
                .is_some_and(|before| before.identity != info.identity)
        });
        // Before, the address was a part of some wider prefix: a rule that denies was not asked.
        let known = ipcache
            .put
            .iter()
            .any(|(prefix, _)| !state.ipcache.contains_key(prefix));
        let touched: HashSet<u32> = policy
            .put
            .iter()
            .map(|(key, _)| key)
            .chain(&policy.delete)
            .map(|key| key.endpoint)
            .collect();
        let (mut desired_endpoints, mut desired_rates) = (HashMap::new(), Rates::new());
        for (local, (id, result)) in locals.iter().zip(&compiled) {
            let judge_again =
                touched.contains(id) || (moved && result.flags != 0) || (known && result.is_tiered);
            let limits = limits.get(&local.attachment.lease.key);
            desired_rates.extend(limits.iter().flat_map(|limits| limits.entries(*id)));
            let flags = result.flags | limits.map_or(0, Limits::flags);
            for address in local.addresses() {
                // A block may hold one of the addresses and not the other.
                let entry = entries.get(&IpNet::from(*address));
                let identity = entry.zip(state.identities.as_ref());
                let identity = identity.map_or(0, |(entry, all)| all.number(&entry.class));
                let ends = (Addr::from(*address), *id, identity);
                let endpoint = state.endpoint(local, ends, flags, judge_again);
                desired_endpoints.insert(ends.0, endpoint);
            }
        }
        let endpoints = changes(&state.endpoints, &desired_endpoints);
        let rates = changes(&state.rates, &desired_rates);
        // New verdicts before the identities that they speak of; old verdicts go before endpoints
        // get the revision under which flows are judged again.
        let datapath = &self.datapath;
        datapath
            .policy
            .put_all(policy.put.iter().map(|(key, value)| (key, value)))?;
        ipcache
            .put
            .iter()
            .try_for_each(|(prefix, info)| datapath.ipcache.put(*prefix, info))?;
        datapath.policy.delete_all(&policy.delete)?;
        ipcache
            .delete
            .iter()
            .try_for_each(|prefix| datapath.ipcache.delete(*prefix))?;
        bandwidth::write(datapath, &rates.put)?;
        datapath
            .endpoints
            .put_all(endpoints.put.iter().map(|(key, value)| (key, value)))?;
        datapath.endpoints.delete_all(&endpoints.delete)?;
        datapath.bandwidth.delete_all(&rates.delete)?;
        if !endpoints.is_empty() {
            datapath.forget_ends()?;
        }
        if !(policy.is_empty() && ipcache.is_empty() && endpoints.is_empty()) {
            tracing::info!(
                endpoints = desired_endpoints.len(),
                policy_written = policy.put.len(),
                policy_removed = policy.delete.len(),
                addresses_written = ipcache.put.len(),
                addresses_removed = ipcache.delete.len(),
                took = ?started.elapsed(),
                "policy programmed"
            );
        }
        let namespaces: HashMap<u64, PodAddrs> = locals
            .iter()
            .map(|local| (local.attachment.netns, local.by_family()))
            .collect();
        let entered = changes(&state.namespaces, &namespaces);
        datapath
            .namespaces
            .put_all(entered.put.iter().map(|(cookie, pod)| (cookie, pod)))?;
        datapath.namespaces.delete_all(&entered.delete)?;
        state.namespaces = namespaces;
        state.endpoints = desired_endpoints;
        state.rates = desired_rates;
        state.ipcache = desired_ipcache;
        state.policy = desired_policy;
        self.names.store(Arc::new(
            self.name_all(&locals, &compiled, &pods, &nodes, rules),
        ));
        Ok(())
    }

    /// The attached pods with their objects, sorted by sandbox.
    fn locals(&self, state: &mut State) -> Vec<Local> {
        let attached: Vec<Attachment> = self.attached.lock().values().cloned().collect();
        state.known.retain(|key, _| {
            attached
                .iter()
                .any(|attachment| attachment.lease.key == *key)
        });
        let local = |attachment: Attachment| {
            let lease = &attachment.lease;
            let found = self.pod_info(&lease.pod.namespace, &lease.pod.name, &lease.pod.uid);
            if let Some(pod) = &found {
                state.known.insert(lease.key.clone(), Arc::clone(pod));
            }
            let pod = found.or_else(|| state.known.get(&lease.key).cloned());
            Local { attachment, pod }
        };
        attached.into_iter().map(local).collect()
    }

    /// A pod of this node. The watch of own pods is asked first: the pod runtime acts on it, so it
    /// knows a new pod when the runtime calls.
    pub(super) fn pod_info(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<PodInfo>> {
        let own = self.watches.own_pods.get(namespace, name);
        let own = own
            .and_then(|pod| PodInfo::from_pod(Arc::unwrap_or_clone(pod)))
            .map(Arc::new);
        let pod = own.or_else(|| self.watches.pods.get(namespace, name))?;
        (uid.is_empty() || pod.uid.is_empty() || pod.uid == uid).then_some(pod)
    }

    fn classify(
        &self,
        locals: &[Local],
        pods: &[Arc<PodInfo>],
        nodes: &[NodeView],
        blocks: &std::collections::BTreeSet<IpNet>,
    ) -> BTreeMap<IpNet, Entry> {
        let mut all = Vec::new();
        for local in locals {
            let namespace: Arc<str> = local.attachment.lease.pod.namespace.as_str().into();
            let labels = local.labels();
            all.extend(local.addresses().iter().map(|address| LocalPod {
                address: *address,
                namespace: Arc::clone(&namespace),
                labels: Arc::clone(&labels),
            }));
        }
        classify(&View {
            node_name: &self.config.node_name,
            overlay: self.pod_overlay().is_some(),
            own_addresses: &self.own_addresses(),
            cluster_dns: &self.config.dns(),
            routed: &self.config.no_masquerade,
            nodes,
            pods,
            local: &all,
            blocks,
        })
    }

    fn namespace_labels(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let namespaces = self.watches.namespaces.sorted();
        let labels = |key: Key, namespace: Arc<k8s_openapi::api::core::v1::Namespace>| {
            let mut labels = namespace.metadata.labels.clone().unwrap_or_default();
            // The API server sets it; policies count on it.
            labels.insert("kubernetes.io/metadata.name".into(), key.name.clone());
            (key.name, labels)
        };
        namespaces
            .into_iter()
            .map(|(key, namespace)| labels(key, namespace))
            .collect()
    }

    fn name_all(
        &self,
        locals: &[Local],
        compiled: &[(u32, Compiled)],
        pods: &[Arc<PodInfo>],
        nodes: &[NodeView],
        rules: Rules,
    ) -> Names {
        let mut names = Names {
            rules,
            ..Names::default()
        };
        for node in nodes {
            let proxies = node.ranges.iter().map(first_address);
            names
                .addresses
                .extend(proxies.map(|ip| (ip, Who::Ingress(node.name.clone()))));
            names.addresses.extend(
                node.addresses
                    .iter()
                    .map(|ip| (*ip, Who::Node(node.name.clone()))),
            );
        }
        let own = self.own_addresses();
        let own = own
            .iter()
            .map(|ip| (*ip, Who::Node(self.config.node_name.clone())));
        names.addresses.extend(own);
        let dns = self.config.dns().into_iter();
        names
            .addresses
            .extend(dns.map(|address| (address, Who::Dns)));
        for pod in pods.iter().filter(|pod| pod.owns_addresses()) {
            names
                .addresses
                .extend(pod.ips.iter().map(|ip| (*ip, Who::Pod(Arc::clone(pod)))));
        }
        for (local, (id, result)) in locals.iter().zip(compiled) {
            let lease = &local.attachment.lease;
            if let Some(pod) = &local.pod {
                let known = lease.addresses.iter();
                names
                    .addresses
                    .extend(known.map(|ip| (*ip, Who::Pod(Arc::clone(pod)))));
            }
            names
                .endpoints
                .insert(*id, Key::new(&lease.pod.namespace, &lease.pod.name));
            names
                .isolating
                .insert((*id, INGRESS), result.ingress_by.clone());
            names
                .isolating
                .insert((*id, EGRESS), result.egress_by.clone());
        }
        names
    }
}

impl State {
    /// The number of the endpoint with these addresses; a new one is never an old one's.
    fn endpoint_id(&mut self, addresses: &[IpAddr]) -> u32 {
        let mut present = addresses
            .iter()
            .filter_map(|address| self.endpoints.get(&Addr::from(*address)));
        if let Some(endpoint) = present.next() {
            return endpoint.id;
        }
        self.last_endpoint += 1;
        self.last_endpoint
    }

    fn endpoint(
        &mut self,
        local: &Local,
        (address, id, identity): (Addr, u32, u32),
        flags: u32,
        judge_again: bool,
    ) -> Endpoint {
        let lease = &local.attachment.lease;
        let before = self.endpoints.get(&address);
        // Limits concern no verdict.
        let is_same = |before: &Endpoint| (before.flags ^ flags) & !LIMITED == 0;
        let same = before.is_some_and(is_same) && !judge_again;
        let policy_revision = match before {
            Some(before) if same => before.policy_revision,
            _ => {
                self.last_revision = self.last_revision.checked_add(1).unwrap_or(1);
                self.last_revision
            }
        };
        Endpoint {
            id,
            identity,
            ifindex: local.attachment.ifindex,
            policy_revision,
            flags,
            pod_mac: lease.pod_mac.0,
            host_mac: lease.host_mac.0,
            reserved: [0; 2],
        }
    }
}

/// A pod that the API does not know (any more) is cut off: no policy can be looked up for it. A
/// sandbox that never was a pod's is not the API's business.
fn compile_local(
    local: &Local,
    endpoint: u32,
    policies: &Policies,
    world: &World<'_>,
    rules: &mut Rules,
) -> Compiled {
    match &local.pod {
        Some(pod) => {
            let (namespace, labels, ports) = (&pod.namespace, &pod.labels, &pod.ports);
            compile(
                Subject {
                    endpoint,
                    namespace,
                    labels,
                    ports,
                },
                policies,
                world,
                rules,
            )
        }
        None if local.attachment.lease.pod.name.is_empty() => Compiled::default(),
        None => Compiled {
            flags: ISOLATED_INGRESS | ISOLATED_EGRESS,
            ..Compiled::default()
        },
    }
}

fn info(entry: &Entry, identities: &Identities) -> IpInfo {
    IpInfo {
        identity: identities.number(&entry.class),
        flags: entry.flags,
        node: entry.node.map_or(Addr::UNSPECIFIED, Addr::from),
    }
}

/// Named ports of the pods of each class.
fn named_ports(
    pods: &[Arc<PodInfo>],
    entries: &BTreeMap<IpNet, Entry>,
    identities: &Identities,
) -> HashMap<u32, Vec<PodPort>> {
    let mut named: HashMap<u32, Vec<PodPort>> = HashMap::new();
    for pod in pods
        .iter()
        .filter(|pod| pod.owns_addresses() && !pod.ports.is_empty())
    {
        for entry in pod
            .ips
            .iter()
            .filter_map(|ip| entries.get(&IpNet::from(*ip)))
        {
            let ports = named.entry(identities.number(&entry.class)).or_default();
            let new = pod
                .ports
                .iter()
                .filter(|port| !ports.contains(port))
                .cloned()
                .collect::<Vec<_>>();
            ports.extend(new);
        }
    }
    named
}
