//! What was observed of a pod.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use serde::{Deserialize, Deserializer};

use super::container::{Resources, requests};
use super::or_default;

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Accepted; not every container has been started.
    #[default]
    Pending,
    /// Bound, and at least one container runs or is being restarted.
    Running,
    /// All containers have ended well.
    Succeeded,
    /// All containers have ended, one of them badly.
    Failed,
    /// Its node cannot be asked.
    #[serde(other)]
    Unknown,
}

/// What controllers read of a pod's status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its addresses, at most one of each family, the main one first.
    pub addresses: Box<[IpAddr]>,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// Why it could not be scheduled: condition `PodScheduled` while it is not true.
    pub unscheduled: Option<Box<PodCondition>>,
    /// The restarts of the container that was restarted most often.
    pub restarts: i32,
    /// What its containers hold beside what they ask for, while they are resized.
    pub resize: Option<Box<Resize>>,
    /// Since when it is about to be deleted: condition `DisruptionTarget` while it is true, but for
    /// that of a kubelet, which takes its time.
    pub disrupted_since: Option<Box<Timestamp>>,
}

/// A resize that is not done yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resize {
    /// Whether its node can never give what is asked for.
    pub is_infeasible: bool,
    /// What the containers were given or have, whichever is more, by name.
    pub held: Box<[(Box<str>, Resources)]>,
}

/// Condition `Ready`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it is true.
    pub is_ready: bool,
    /// Since when it has been what it is.
    pub since: Option<Timestamp>,
}

/// A status as the API has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default, deserialize_with = "or_default")]
    phase: Phase,
    #[serde(rename = "podIP", default, deserialize_with = "or_default")]
    pod_ip: Box<str>,
    #[serde(rename = "podIPs", default, deserialize_with = "or_default")]
    pod_ips: Vec<Address>,
    #[serde(default, deserialize_with = "or_default")]
    conditions: Vec<PodCondition>,
    #[serde(default, deserialize_with = "or_default")]
    container_statuses: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    init_container_statuses: Vec<Container>,
}

#[derive(Deserialize)]
struct Address {
    ip: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default, deserialize_with = "or_default")]
    name: Box<str>,
    #[serde(default)]
    restart_count: i32,
    #[serde(default, deserialize_with = "requests")]
    resources: Resources,
    #[serde(default, deserialize_with = "or_default")]
    allocated_resources: Resources,
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        let mut wire = Wire::deserialize(decoder)?;
        let ready = condition(&wire.conditions, "Ready").map(|index| &wire.conditions[index]);
        let readiness = ready.map(|ready| Readiness {
            is_ready: ready.status == "True",
            since: ready.last_transition_time.as_ref().map(|at| at.0),
        });
        let disrupted_since = disrupted_since(&wire.conditions);
        let scheduled = condition(&wire.conditions, "PodScheduled");
        let scheduled = scheduled.map(|index| wire.conditions.swap_remove(index));
        let counts = wire.container_statuses.iter().map(|it| it.restart_count);
        let restarts = counts.max().unwrap_or(0);
        let containers = wire.container_statuses.into_iter();
        let resize = resize(
            &wire.conditions,
            containers.chain(wire.init_container_statuses),
        );
        Ok(Status {
            phase: wire.phase,
            readiness: readiness.unwrap_or_default(),
            unscheduled: scheduled.filter(|it| it.status != "True").map(Box::new),
            restarts,
            resize,
            disrupted_since,
            addresses: addresses(&wire.pod_ip, &wire.pod_ips),
        })
    }
}

/// Most pods are not resized, and keep nothing of what is said twice.
fn resize(
    conditions: &[PodCondition],
    containers: impl Iterator<Item = Container>,
) -> Option<Box<Resize>> {
    let pending = condition(conditions, "PodResizePending").map(|index| &conditions[index]);
    if pending.is_none() && condition(conditions, "PodResizeInProgress").is_none() {
        return None;
    }
    let reason = pending.and_then(|pending| pending.reason.as_deref());
    let held = containers.map(|container| {
        let mut held = container.resources;
        held.raise(&container.allocated_resources);
        (container.name, held)
    });
    Some(Box::new(Resize {
        is_infeasible: reason == Some("Infeasible"),
        held: held.collect(),
    }))
}

/// A condition without a time has stood for ever.
fn disrupted_since(conditions: &[PodCondition]) -> Option<Box<Timestamp>> {
    let told = &conditions[condition(conditions, "DisruptionTarget")?];
    if told.status != "True" || told.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    let since = told.last_transition_time.as_ref();
    Some(Box::new(since.map_or(Timestamp::UNIX_EPOCH, |at| at.0)))
}

fn condition(conditions: &[PodCondition], kind: &str) -> Option<usize> {
    conditions.iter().position(|one| one.type_ == kind)
}

/// The list, which is complete where there is one.
fn addresses(single: &str, listed: &[Address]) -> Box<[IpAddr]> {
    let listed = listed.iter().map(|address| address.ip.as_ref());
    let mut all: Vec<IpAddr> = listed
        .chain([single])
        .filter_map(|text| text.parse().ok())
        .collect();
    let mut seen = Vec::with_capacity(2);
    all.retain(|address| {
        let fresh = !seen.contains(&address.is_ipv6());
        seen.push(address.is_ipv6());
        fresh
    });
    all.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn conditions_come_down_to_what_is_asked() {
        let status = status(json!({"phase": "Running", "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z"}],
            "containerStatuses": [{"restartCount": 1}, {"restartCount": 4}]}));
        assert_eq!(status.phase, Phase::Running);
        assert!(status.readiness.is_ready && status.unscheduled.is_none());
        assert_eq!(status.readiness.since.unwrap().as_second(), 100);
        assert_eq!(status.restarts, 4);
    }

    #[test]
    fn a_failure_to_schedule_is_kept_whole() {
        let status = status(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m"}]}));
        let why = status.unscheduled.unwrap();
        assert_eq!(why.message.as_deref(), Some("m"));
        assert_eq!(status.phase, Phase::Pending);
    }

    #[test]
    fn one_address_of_each_family_counts() {
        let read = |value| status(value).addresses.to_vec();
        let text = |all: Vec<IpAddr>| all.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        let both = json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
        assert_eq!(text(read(both)), ["10.0.0.1", "fd00::1"]);
        assert_eq!(text(read(json!({"podIP": "10.0.0.1"}))), ["10.0.0.1"]);
        assert!(read(json!({"podIP": null, "phase": "Strange"})).is_empty());
    }
}
