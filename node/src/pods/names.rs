//! Labels by which containers are found again after a restart, and where a pod's files live.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

/// Label: name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: UID of the pod, the key of everything in the runtime.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container in the pod's spec.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: seconds between SIGTERM and SIGKILL, for pods whose object is gone.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation: where the container leaves its last words.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";

/// What identifies one incarnation of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId {
    /// Namespace.
    pub namespace: String,
    /// Name, unique in the namespace at any one time.
    pub name: String,
    /// UID, unique for ever.
    pub uid: String,
}

impl PodId {
    /// The identity of an API object; fields the API always fills are empty when absent.
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// The identity written on a sandbox or container; `None` for one that isn't ours.
    pub fn from_labels(labels: &std::collections::HashMap<String, String>) -> Option<Self> {
        Some(Self {
            namespace: labels.get(POD_NAMESPACE)?.clone(),
            name: labels.get(POD_NAME)?.clone(),
            uid: labels.get(POD_UID)?.clone(),
        })
    }

    /// The labels of this pod's sandboxes and, with a container's name, of that container.
    pub fn labels(&self, container: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (POD_NAME.to_owned(), self.name.clone()),
            (POD_NAMESPACE.to_owned(), self.namespace.clone()),
            (POD_UID.to_owned(), self.uid.clone()),
        ]);
        if let Some(container) = container {
            labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
        }
        labels
    }

    /// `name_namespace(uid)`, the form used in messages.
    pub fn describe(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// Directories below the daemon's state directory.
#[derive(Debug, Clone)]
pub struct Dirs {
    state: PathBuf,
}

impl Dirs {
    /// `state` must be absolute: the runtime resolves relative paths against its own directory.
    pub fn new(state: &Path) -> Self {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        Self { state }
    }

    /// Every pod's directory is a child of this.
    pub fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// Volumes, hosts file and last words of one pod.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// The hosts file that every container of the pod sees.
    pub fn hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// All volumes of a pod.
    pub fn volumes(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volumes")
    }

    /// One volume.
    pub fn volume(&self, uid: &str, volume: &str) -> PathBuf {
        self.volumes(uid).join(volume)
    }

    /// File bound over a container's termination message path.
    pub fn termination(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid)
            .join("containers")
            .join(container)
            .join(attempt.to_string())
    }

    /// Log directory of all pods.
    pub fn all_logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Log directory of one pod.
    pub fn logs(&self, pod: &PodId) -> PathBuf {
        self.all_logs()
            .join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
    }

    /// Log of one attempt of one container.
    pub fn log(&self, pod: &PodId, container: &str, attempt: u32) -> PathBuf {
        self.logs(pod).join(relative_log(container, attempt))
    }
}

/// A container's log path relative to its pod's log directory.
pub fn relative_log(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_the_way_through_labels() {
        let id = PodId {
            namespace: "a".into(),
            name: "b".into(),
            uid: "c".into(),
        };
        let labels = id.labels(Some("web")).into_iter().collect();
        assert_eq!(PodId::from_labels(&labels), Some(id));
    }

    #[test]
    fn foreign_sandboxes_have_no_identity() {
        assert_eq!(PodId::from_labels(&std::collections::HashMap::new()), None);
    }

    #[test]
    fn log_paths_are_absolute() {
        let dirs = Dirs::new(Path::new("state"));
        assert!(dirs.all_logs().is_absolute());
    }
}
