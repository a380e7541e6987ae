//! Bandwidth limits: what pods ask for becomes limits of the data path where a queue keeps packets until
//! they may leave, and an event on the pod where none does.
//!
//! Queues come before limits, and limits before the endpoints that name them. A queue that was put on
//! an interface stays: without departure times it keeps nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use naru_ebpf_common::{Bandwidth, BandwidthKey};

use super::{Attachment, Network};
use crate::bandwidth::{Direction, Limits};
use crate::datapath::{Datapath, DatapathError};
use crate::ipam::{Lease, LeaseKey};
use crate::net::QueueError;
use crate::pods::events::Severity;

/// Component of the node's health.
const COMPONENT: &str = "bandwidth";
/// Reason of the event for an annotation that limits nothing.
const INVALID: &str = "InvalidBandwidth";
/// Reason of the event for a limit that nothing keeps.
const UNAVAILABLE: &str = "BandwidthLimitUnavailable";
/// A link that got no queue is tried again after this time: somebody may have loaded a module.
const AGAIN: Duration = Duration::from_secs(60);
/// So many pods are named in the node's health.
const NAMED: usize = 5;

/// Limits in force, by attachment.
pub(super) type InForce = HashMap<LeaseKey, Limits>;

/// What is remembered from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Shaper {
    /// What pods asked for that left the API while their sandbox still lives.
    asked: HashMap<LeaseKey, Limits>,
    /// Links without a queue: since when, and why.
    refused: HashMap<u32, (Instant, String)>,
    /// What pods have been told.
    told: BTreeSet<Complaint>,
}

/// Something that a pod is to be told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    namespace: String,
    name: String,
    uid: String,
    reason: &'static str,
    message: String,
}

impl Complaint {
    fn about(lease: &Lease, uid: &str, reason: &'static str, message: String) -> Self {
        Self {
            namespace: lease.pod.namespace.clone(),
            name: lease.pod.name.clone(),
            uid: uid.to_owned(),
            reason,
            message,
        }
    }

    fn object(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

impl Network {
    /// Reads what the attached pods ask for, makes the queues that keep it, and tells pods what is
    /// not kept. Returns the limits that may be programmed.
    pub(super) async fn shape(&self, shaper: &mut Shaper) -> InForce {
        let attachments = self.attachments();
        shaper
            .asked
            .retain(|key, _| attachments.iter().any(|pod| pod.lease.key == *key));
        let (mut in_force, mut complaints) = (InForce::new(), BTreeSet::new());
        for attachment in attachments {
            let lease = &attachment.lease;
            let pod = self.own_pod(lease);
            let uid = pod
                .as_ref()
                .and_then(|pod| pod.metadata.uid.clone())
                .unwrap_or_default();
            if let Some(pod) = pod {
                let (asked, wrong) = Limits::read(pod.metadata.annotations.as_ref());
                let told = |wrong| Complaint::about(lease, &uid, INVALID, format!("{wrong}"));
                complaints.extend(wrong.into_iter().map(told));
                shaper.asked.insert(lease.key.clone(), asked);
            }
            let Some(asked) = shaper.asked.get(&lease.key).cloned() else {
                continue;
            };
            let mut limits = Limits::default();
            for (direction, rate) in asked.iter() {
                match self.queue(shaper, &attachment, direction).await {
                    Ok(()) => limits.set(direction, rate),
                    Err(why) => {
                        let message = format!("{direction} is not limited: {why}");
                        complaints.insert(Complaint::about(lease, &uid, UNAVAILABLE, message));
                    }
                }
            }
            in_force.insert(lease.key.clone(), limits);
        }
        self.tell(shaper, complaints);
        in_force
    }

    /// The pod of an attachment as the API has it, unless another one has its name by now.
    fn own_pod(&self, lease: &Lease) -> Option<std::sync::Arc<Pod>> {
        let pod = self
            .watches
            .own_pods
            .get(&lease.pod.namespace, &lease.pod.name)?;
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        (lease.pod.uid.is_empty() || uid == lease.pod.uid).then_some(pod)
    }

    /// Sees to it that packets in this direction are kept until they may leave; says why they are not.
    async fn queue(
        &self,
        shaper: &mut Shaper,
        attachment: &Attachment,
        direction: Direction,
    ) -> Result<(), String> {
        let (index, name) = match direction {
            Direction::Ingress => (attachment.ifindex, attachment.lease.host_link.as_str()),
            Direction::Egress => (self.uplink.index, self.uplink.name.as_str()),
        };
        if let Some((since, why)) = shaper.refused.get(&index)
            && since.elapsed() < AGAIN
        {
            return Err(why.clone());
        }
        match self.netlink.fair_queue(index, name).await {
            Ok(()) => {
                shaper.refused.remove(&index);
                Ok(())
            }
            // Its pod is on its way out.
            Err(QueueError::Gone(_)) => Ok(()),
            Err(error) => {
                let why = super::chain(&error);
                shaper.refused.insert(index, (Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Tells each pod once what it has not been told.
    fn tell(&self, shaper: &mut Shaper, complaints: BTreeSet<Complaint>) {
        for new in complaints.difference(&shaper.told) {
            let (object, message) = (new.object(), new.message.as_str());
            self.events
                .record(object, Severity::Warning, new.reason, message);
        }
        self.health.set(COMPONENT, fault(&complaints));
        shaper.told = complaints;
    }
}

/// What the node's health says of it.
fn fault(complaints: &BTreeSet<Complaint>) -> Option<String> {
    let text = |complaint: &Complaint| {
        let Complaint {
            namespace,
            name,
            message,
            ..
        } = complaint;
        format!("pod {namespace}/{name}: {message}")
    };
    let mut texts: Vec<_> = complaints.iter().take(NAMED).map(text).collect();
    if let Some(more) = complaints.len().checked_sub(NAMED).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Rates by key: what the map holds but for what the programs write.
pub(super) type Rates = HashMap<BandwidthKey, u64>;

/// The rates in the map.
///
/// # Errors
/// When the map cannot be read.
pub(super) fn adopt(datapath: &Datapath) -> Result<Rates, DatapathError> {
    let entries = datapath.bandwidth.entries()?.into_iter();
    Ok(entries.map(|(key, limit)| (key, limit.rate)).collect())
}

/// Writes rates. What has been sent already counts for a new rate, too.
///
/// # Errors
/// When the map cannot be read or written.
pub(super) fn write(
    datapath: &Datapath,
    rates: &[(BandwidthKey, u64)],
) -> Result<(), DatapathError> {
    for (key, rate) in rates {
        let present = datapath.bandwidth.get(key)?.unwrap_or_default();
        let limit = Bandwidth {
            rate: *rate,
            ..present
        };
        datapath.bandwidth.put(key, &limit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_health_names_a_few_pods_and_counts_the_others() {
        assert_eq!(fault(&BTreeSet::new()), None);
        let complaint = |n: usize| Complaint {
            namespace: "shop".into(),
            name: format!("web-{n}"),
            uid: String::new(),
            reason: UNAVAILABLE,
            message: "egress is not limited: why".into(),
        };
        let one = fault(&BTreeSet::from([complaint(1)])).unwrap();
        assert_eq!(one, "pod shop/web-1: egress is not limited: why");
        let many = fault(&(0..8).map(complaint).collect()).unwrap();
        assert!(
            many.contains("shop/web-4") && many.ends_with("; and 3 more"),
            "{many}"
        );
    }
}
