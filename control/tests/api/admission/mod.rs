//! Admission: what is filled in, and who is turned away with which words.

mod limits;
mod mutating_policies;
mod nodes;
mod parts;
mod pod_security;
mod policies;
mod priority;
mod quota;
mod storage;
mod webhooks;

use super::*;

/// A namespace with these labels.
async fn namespace(control: &Control, name: &str, labels: Value) {
    let namespace = json!({"metadata": {"name": name, "labels": labels}});
    create(control, "/api/v1/namespaces", &namespace).await;
}
