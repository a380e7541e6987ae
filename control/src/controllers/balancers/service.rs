//! A Service as the balancers see it, and what is written into its status.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use naru_core::names::{annotations, defaults};
use std::net::IpAddr;

use super::super::runtime::{Key, meta, now, time};
use super::plan::{Claimant, Outcome};
use super::pool::Labels;

/// The condition by which the controller tells how it went, and knows the Services that it serves.
pub(super) const CONDITION: &str = "naru.dev/AddressAssigned";
/// `reason` of a Service that has all that it wants.
pub(super) const ASSIGNED: &str = "Assigned";

/// The controller's condition.
pub(super) fn condition(service: &Service) -> Option<&Condition> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|found| found.type_ == CONDITION)
}

/// The addresses in a Service's status.
pub(super) fn held(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let ingress = ingress.into_iter().flatten();
    ingress
        .filter_map(|entry| entry.ip.as_ref()?.parse().ok())
        .collect()
}

fn is_balanced(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

/// Whether the Service gets its addresses here. One whose class is another's, and one that has
/// addresses which it did not get here, is somebody else's.
pub(super) fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    is_balanced(service)
        && class.is_none_or(|class| class == defaults::LOAD_BALANCER_CLASS)
        && (condition(service).is_some() || !has_ingress(service))
}

fn has_ingress(service: &Service) -> bool {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    balancer.is_some_and(|balancer| balancer.ingress.as_ref().is_some_and(|all| !all.is_empty()))
}

/// What the Service wants. `namespace` holds the labels of its namespace.
pub(super) fn claimant(service: &Service, namespace: Labels) -> Claimant {
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.clone());
    let families = families.unwrap_or_else(|| vec!["IPv4".to_owned()]);
    let policy = spec.and_then(|spec| spec.ip_family_policy.as_deref());
    let annotation = |name: &str| service.annotations().get(name).cloned();
    let asked = annotation(annotations::LOAD_BALANCER_ADDRESSES)
        .or_else(|| spec.and_then(|spec| spec.load_balancer_ip.clone()));
    let asked = asked
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    Claimant {
        key: Key::of(service),
        labels: service.labels().clone(),
        namespace,
        families: families.iter().map(|family| family == "IPv6").collect(),
        all_families: policy == Some("RequireDualStack"),
        asked: asked
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect(),
        pool: annotation(annotations::ADDRESS_POOL),
        held: held(service),
        leaving: meta::is_deleting(&service.metadata),
    }
}

/// The Service with the outcome in its status.
pub(super) fn with(service: &Service, outcome: &Outcome) -> Service {
    let mut service = service.clone();
    let ingress = |address: &IpAddr| LoadBalancerIngress {
        ip: Some(address.to_string()),
        ip_mode: Some("VIP".to_owned()),
        ..LoadBalancerIngress::default()
    };
    let mut addresses = outcome.addresses.clone();
    // As the Service's families are written, the IPv4 address comes first unless IPv6 leads.
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.clone());
    let v6_first = families.is_some_and(|all| all.first().is_some_and(|first| first == "IPv6"));
    addresses.sort_by_key(|address| address.is_ipv6() != v6_first);
    let ingress: Vec<_> = addresses.iter().map(ingress).collect();
    let message = match &outcome.refused {
        None => {
            let texts: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
            format!("assigned {}", texts.join(", "))
        }
        Some(refusal) => refusal.to_string(),
    };
    let reason = outcome
        .refused
        .as_ref()
        .map_or(ASSIGNED, |refusal| refusal.reason());
    let state = if outcome.refused.is_none() {
        "True"
    } else {
        "False"
    };
    let before = condition(&service).cloned();
    let since = before
        .filter(|before| before.status == state)
        .map(|before| before.last_transition_time);
    let condition = Condition {
        type_: CONDITION.to_owned(),
        status: state.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: since.unwrap_or_else(|| time(now())),
    };
    replace(
        &mut service,
        (!ingress.is_empty()).then_some(ingress),
        Some(condition),
    );
    service
}

/// The Service without what it got here.
pub(super) fn without(service: &Service) -> Service {
    let mut service = service.clone();
    replace(&mut service, None, None);
    service
}

fn replace(
    service: &mut Service,
    ingress: Option<Vec<LoadBalancerIngress>>,
    condition: Option<Condition>,
) {
    let status = service.status.get_or_insert_default();
    status.load_balancer = Some(LoadBalancerStatus { ingress });
    let mut conditions = status.conditions.take().unwrap_or_default();
    conditions.retain(|found| found.type_ != CONDITION);
    conditions.extend(condition);
    status.conditions = (!conditions.is_empty()).then_some(conditions);
}
