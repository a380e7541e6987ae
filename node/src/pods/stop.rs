//! Stopping one container: preStop hook, withdrawal from services, stop signal, SIGKILL.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::context::Context;
use super::events::Severity::{Normal, Warning};
use super::hooks;
use super::plan::{StopReason, spec};

/// How long to wait for the services to let go of a pod before its stop signal, on every node, at
/// most, and never longer than half of its grace period.
const WITHDRAWAL: Duration = Duration::from_secs(10);
/// What other nodes get, at least, to follow the change that this node has seen. They need a
/// millisecond of their own; the rest is for a node whose processors are taken.
const SETTLE: Duration = Duration::from_millis(500);

/// What a stop is about.
#[derive(Debug, Clone)]
pub struct StopJob {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's id.
    pub id: String,
    /// Its name in the spec.
    pub container: String,
    /// For hook and stop signal together.
    pub grace: Duration,
    /// Why.
    pub reason: StopReason,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// A stop is under way already; this one only shortens it.
    pub repeated: bool,
}

impl StopJob {
    /// Does it all; returns when the container is dead.
    ///
    /// # Errors
    /// Whatever the runtime answers.
    pub async fn run(&self, ctx: &Context) -> Result<(), naru_cri::Error> {
        let began = Instant::now();
        if !self.repeated {
            self.announce(ctx);
            if self.reason != StopReason::Lost && !self.grace.is_zero() {
                self.prepare(ctx).await;
            }
        }
        let left = self.grace.saturating_sub(began.elapsed());
        // A hook that used up the time still leaves the process a moment to end by itself.
        let floor = Duration::from_secs(2).min(self.grace);
        let wait = whole_seconds(left.max(floor));
        let stopped = ctx.cri.stop_container(&self.id, wait).await;
        ctx.pace.hurry();
        match stopped {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    fn announce(&self, ctx: &Context) {
        let name = &self.container;
        let message = match self.reason {
            StopReason::PodEnds => format!("Stopping container {name}"),
            StopReason::Liveness => {
                format!("Container {name} failed liveness probe, will be restarted")
            }
            StopReason::Startup => {
                format!("Container {name} failed startup probe, will be restarted")
            }
            StopReason::Resized => format!("Container {name} resize requires restart"),
            StopReason::Lost => format!("Container {name} lost its sandbox, will be restarted"),
        };
        ctx.event(&self.pod, Some(name), Normal, "Killing", message);
    }

    async fn prepare(&self, ctx: &Context) {
        let withdrawn = async {
            if self.reason == StopReason::PodEnds {
                let limit = WITHDRAWAL.min(self.grace / 2);
                withdrawn(ctx, &self.pod, &self.ips, limit).await;
            }
        };
        tokio::join!(withdrawn, self.pre_stop(ctx));
    }

    async fn pre_stop(&self, ctx: &Context) {
        let containers = spec(&self.pod).containers.iter();
        let mut containers = containers.chain(spec(&self.pod).init_containers.iter().flatten());
        let Some(container) = containers.find(|c| c.name == self.container) else {
            return;
        };
        let Some(hook) = hook(container) else { return };
        let ip = self.ips.first().copied();
        let run = hooks::run(&ctx.cri, hook, container, &self.id, ip, self.grace);
        let outcome = tokio::time::timeout(self.grace, run).await;
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => "not finished within the grace period".to_owned(),
        };
        let message = format!("PreStopHook failed: {error}");
        ctx.event(
            &self.pod,
            Some(&self.container),
            Warning,
            "FailedPreStopHook",
            message,
        );
    }
}

/// Rounded up: the runtime counts whole seconds, and a process must not be killed before its time.
fn whole_seconds(time: Duration) -> Duration {
    let begun = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs().saturating_add(begun))
}

fn hook(container: &Container) -> Option<&k8s_openapi::api::core::v1::LifecycleHandler> {
    container.lifecycle.as_ref()?.pre_stop.as_ref()
}

/// Waits until no service sends new connections to the pod: a process that gets its stop signal
/// while it is still listed would refuse them.
///
/// Also when this node has seen it withdrawn before it came here: others may not have yet.
async fn withdrawn(ctx: &Context, pod: &Pod, ips: &[IpAddr], limit: Duration) {
    let slices = &ctx.watches.endpoint_slices;
    let standing = || standing(&slices.list(), pod, ips);
    let mut changes = slices.subscribe();
    let began = Instant::now();
    if standing().is_none() {
        return;
    }
    let chosen = || standing() == Some(Standing::Chosen);
    let everywhere = async {
        while chosen() && changes.changed().await.is_ok() {}
        tokio::time::sleep(settling(began.elapsed())).await;
    };
    let _ = tokio::time::timeout(limit, everywhere).await;
}

/// How long other nodes may need for a change that reached this one after `waited`: as long, where
/// that is long, because they wait for the same server.
fn settling(waited: Duration) -> Duration {
    SETTLE.max(waited)
}

/// What services have of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It is named, but not ready, or known to end: new connections go elsewhere if they can.
    Withdrawn,
    /// New connections may come to it.
    Chosen,
}

/// Nothing if no slice names the pod.
fn standing(slices: &[Arc<EndpointSlice>], pod: &Pod, ips: &[IpAddr]) -> Option<Standing> {
    let of_namespace = |slice: &&Arc<EndpointSlice>| {
        slice.metadata.namespace.as_deref() == pod.metadata.namespace.as_deref()
    };
    let endpoints = slices.iter().filter(of_namespace);
    let endpoints = endpoints.flat_map(|slice| slice.endpoints.iter().flatten());
    let ours = endpoints.filter(|endpoint| names(endpoint, pod, ips));
    ours.map(standing_of).max()
}

/// Whether an endpoint is the pod: by what it refers to, because pods of a node's own network have
/// one address together; one that refers to no pod by its address.
fn names(endpoint: &Endpoint, pod: &Pod, ips: &[IpAddr]) -> bool {
    let of_pod = endpoint.target_ref.as_ref();
    match of_pod.filter(|target| target.kind.as_deref() == Some("Pod")) {
        Some(target) => target.name == pod.metadata.name,
        None => {
            let ours = |text: &String| text.parse().is_ok_and(|ip: IpAddr| ips.contains(&ip));
            endpoint.addresses.iter().any(ours)
        }
    }
}

/// Of one endpoint: it is ready where nothing is said (discovery.k8s.io/v1). One of a Service that
/// publishes whatever is not ready stays so to its end, and waiting would change nothing.
fn standing_of(endpoint: &Endpoint) -> Standing {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    match conditions.ready != Some(false) && conditions.terminating != Some(true) {
        true => Standing::Chosen,
        false => Standing::Withdrawn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_second_counts_as_a_whole_one() {
        let rounded = |millis| whole_seconds(Duration::from_millis(millis)).as_secs();
        assert_eq!([0, 1, 2000, 2999].map(rounded), [0, 1, 2, 3]);
    }

    #[test]
    fn what_took_long_to_be_seen_here_is_given_as_long_elsewhere() {
        let settled = |millis| settling(Duration::from_millis(millis)).as_millis();
        assert_eq!([3, 2_400].map(settled), [500, 2_400]);
    }

    fn standing_in(endpoint: serde_json::Value) -> Option<Standing> {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": "web-1"}}))
        .unwrap();
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop"}, "addressType": "IPv4",
            "endpoints": [endpoint]}))
        .unwrap();
        let mut elsewhere = slice.clone();
        elsewhere.metadata.namespace = Some("other".to_owned());
        let ips = ["10.244.1.2".parse().unwrap()];
        assert_eq!(standing(&[Arc::new(elsewhere)], &pod, &ips), None);
        standing(&[Arc::new(slice)], &pod, &ips)
    }

    #[test]
    fn a_pod_that_is_named_was_chosen_or_has_been_withdrawn() {
        let endpoint = |conditions: serde_json::Value| {
            standing_in(serde_json::json!({
                "addresses": ["10.244.1.2"], "conditions": conditions}))
        };
        let chosen = Some(Standing::Chosen);
        assert_eq!(endpoint(serde_json::json!({})), chosen);
        assert_eq!(endpoint(serde_json::json!({"ready": true})), chosen);
        let ends = serde_json::json!({"ready": false, "serving": true, "terminating": true});
        assert_eq!(endpoint(ends), Some(Standing::Withdrawn));
        let published = serde_json::json!({"ready": true, "terminating": true});
        assert_eq!(endpoint(published), Some(Standing::Withdrawn));
        let other = serde_json::json!({"addresses": ["10.244.1.3"]});
        assert_eq!(standing_in(other), None);
    }

    #[test]
    fn what_refers_to_another_pod_of_the_same_address_is_not_this_one() {
        let endpoint = |name: &str| {
            standing_in(serde_json::json!({
                "addresses": ["10.244.1.2"], "targetRef": {"kind": "Pod", "name": name}}))
        };
        assert_eq!(endpoint("web-1"), Some(Standing::Chosen));
        assert_eq!(endpoint("web-2"), None);
    }
}
