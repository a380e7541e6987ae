//! What the pods of this node were given of it, so that two that grow at once do not get the same.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;

use crate::pods::fields::Allocatable;
use crate::pods::names::PodId;
use crate::pods::plan::{has_terminal_phase, is_sidecar, spec};
use crate::pods::resources::{milli, request, units};

/// Processor time and memory that a pod asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
}

/// Why a pod was not given what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The node has not as much at all.
    Infeasible {
        /// `cpu` or `memory`.
        resource: &'static str,
        /// How much is wanted.
        requested: i64,
        /// How much there is.
        capacity: i64,
    },
    /// Others have it.
    Deferred {
        /// `cpu` or `memory`.
        resource: &'static str,
        /// How much is wanted.
        requested: i64,
        /// How much others have.
        used: i64,
        /// How much there is.
        capacity: i64,
    },
}

impl Refusal {
    /// Reason and message as the API words them.
    pub fn told(&self) -> (&'static str, String) {
        match self {
            Self::Infeasible {
                resource,
                requested,
                capacity,
            } => {
                let message = format!(
                    "Node didn't have enough capacity: {resource}, requested: {requested}, capacity: {capacity}"
                );
                ("Infeasible", message)
            }
            Self::Deferred {
                resource,
                requested,
                used,
                capacity,
            } => {
                let message = format!(
                    "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
                );
                ("Deferred", message)
            }
        }
    }
}

impl Needs {
    /// What a pod needs at its hungriest moment: all containers together, or an init container with
    /// the sidecars that were started before it; plus overhead.
    pub fn of(pod: &Pod) -> Self {
        let spec = spec(pod);
        let mut total = Self::default();
        for container in &spec.containers {
            total = total.plus(Self::of_container(container));
        }
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let now = sidecars.plus(Self::of_container(container));
            starting = starting.most(now);
            if is_sidecar(container) {
                sidecars = now;
            }
        }
        let overhead = spec.overhead.as_ref();
        let overhead = Self {
            milli_cpu: overhead.and_then(|it| milli(it.get("cpu")?)).unwrap_or(0),
            memory: overhead
                .and_then(|it| units(it.get("memory")?))
                .unwrap_or(0),
        };
        total.plus(sidecars).most(starting).plus(overhead)
    }

    fn of_container(container: &Container) -> Self {
        let resources = container.resources.as_ref();
        let asked = |name| resources.and_then(|resources| request(resources, name));
        Self {
            milli_cpu: asked("cpu").and_then(milli).unwrap_or(0),
            memory: asked("memory").and_then(units).unwrap_or(0),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            milli_cpu: self.milli_cpu.saturating_add(other.milli_cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            milli_cpu: self.milli_cpu.max(other.milli_cpu),
            memory: self.memory.max(other.memory),
        }
    }
}

/// Whether a pod that has `had` can have `wanted` beside what `others` have. What does not grow is
/// never refused.
fn judge(had: Needs, wanted: Needs, others: Needs, node: Allocatable) -> Result<(), Refusal> {
    let resources = [
        (
            "cpu",
            had.milli_cpu,
            wanted.milli_cpu,
            others.milli_cpu,
            node.milli_cpu,
        ),
        (
            "memory",
            had.memory,
            wanted.memory,
            others.memory,
            node.memory,
        ),
    ];
    let growing = resources.iter().filter(|(_, had, wanted, ..)| wanted > had);
    for &(resource, _, requested, _, capacity) in growing.clone() {
        if requested > capacity {
            return Err(Refusal::Infeasible {
                resource,
                requested,
                capacity,
            });
        }
    }
    for &(resource, _, requested, used, capacity) in growing {
        if requested.saturating_add(used) > capacity {
            return Err(Refusal::Deferred {
                resource,
                requested,
                used,
                capacity,
            });
        }
    }
    Ok(())
}

/// What every pod of the node was given, by uid; one that nobody has looked at yet has what it asks
/// for.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<String, Needs>>);

impl Ledger {
    /// Notes what a pod has, whatever the node has left: it runs.
    pub fn note(&self, uid: &str, needs: Needs) {
        self.0.lock().insert(uid.to_owned(), needs);
    }

    /// Gives a pod that has `had` what it wants beside the others of `pods`, and notes it.
    ///
    /// # Errors
    /// Why it gets nothing; what was noted of it stays.
    pub fn take(
        &self,
        uid: &str,
        (had, wanted): (Needs, Needs),
        pods: &[Arc<Pod>],
        node: Allocatable,
    ) -> Result<(), Refusal> {
        let mut all = self.0.lock();
        let here: HashMap<String, &Arc<Pod>> =
            pods.iter().map(|pod| (PodId::of(pod).uid, pod)).collect();
        all.retain(|known, _| known == uid || here.contains_key(known));
        let mut others = Needs::default();
        for (other, pod) in here {
            if other != uid && !has_terminal_phase(pod) {
                let known = all.get(&other).copied();
                others = others.plus(known.unwrap_or_else(|| Needs::of(pod)));
            }
        }
        judge(had, wanted, others, node)?;
        all.insert(uid.to_owned(), wanted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, cpu: &str) -> Arc<Pod> {
        let pod = serde_json::json!({"metadata": {"uid": uid}, "spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn cpu(milli_cpu: i64) -> Needs {
        Needs {
            milli_cpu,
            memory: 1 << 20,
        }
    }

    const NODE: Allocatable = Allocatable {
        milli_cpu: 2000,
        memory: 1 << 30,
    };

    #[test]
    fn a_pod_gets_what_others_leave_and_no_two_the_same() {
        let pods = [pod("a", "500m"), pod("b", "500m")];
        let ledger = Ledger::default();
        let had = Needs::of(&pods[0]);
        assert_eq!(had, cpu(500));
        let take = |uid, wanted| ledger.take(uid, (had, cpu(wanted)), &pods, NODE);
        assert_eq!(take("a", 1500), Ok(()));
        let refused = take("b", 501).unwrap_err();
        let (reason, message) = refused.told();
        assert_eq!(reason, "Deferred");
        let words =
            "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(message, words);
        let (reason, message) = take("b", 2001).unwrap_err().told();
        assert_eq!(reason, "Infeasible");
        let words = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
        assert_eq!(message, words);
        assert_eq!(take("a", 1000), Ok(()));
        assert_eq!(take("b", 1000), Ok(()));
    }

    #[test]
    fn who_asks_for_less_always_gets_it() {
        let pods = [pod("a", "1"), pod("b", "9")];
        let ledger = Ledger::default();
        let less = ledger.take("a", (cpu(1000), cpu(900)), &pods, NODE);
        assert_eq!(less, Ok(()));
    }

    #[test]
    fn pods_that_are_over_have_nothing() {
        let mut over = Pod::clone(&pod("b", "2"));
        over.status = serde_json::from_value(serde_json::json!({"phase": "Failed"})).unwrap();
        let pods = [pod("a", "1"), Arc::new(over)];
        let ledger = Ledger::default();
        let all = ledger.take("a", (cpu(1000), cpu(2000)), &pods, NODE);
        assert_eq!(all, Ok(()));
    }

    #[test]
    fn a_pod_needs_its_start_or_its_containers() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "initContainers": [
                {"name": "side", "restartPolicy": "Always",
                    "resources": {"requests": {"cpu": "100m"}}},
                {"name": "init", "resources": {"limits": {"cpu": "2"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}],
            "overhead": {"cpu": "10m", "memory": "1Mi"}}}))
        .unwrap();
        assert_eq!(Needs::of(&pod), cpu(2110));
    }
}
