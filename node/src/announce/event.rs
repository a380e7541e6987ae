//! The event by which people see where an address is.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::PostParams;

use crate::Shared;
use crate::watches::Key;

/// Records on the Service that this node announces its address. An event that the API server does
/// not take is dropped: announcing goes on without it.
pub(super) async fn record(shared: Shared, service: Key, message: String) {
    let uid = shared
        .watches
        .services
        .get(&service.namespace, &service.name)
        .and_then(|object| object.metadata.uid.clone());
    let event = event(&shared.config.node_name, &service, uid, message);
    let api: Api<Event> = Api::namespaced(shared.client.clone(), &service.namespace);
    if let Err(error) = api.create(&PostParams::default(), &event).await {
        tracing::debug!(%service, %error, "event not written");
    }
}

fn event(node: &str, service: &Key, uid: Option<String>, message: String) -> Event {
    let now = Timestamp::now();
    let time = Timestamp::from_second(now.as_second()).ok().map(Time);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", service.name, now.as_nanosecond())),
            namespace: Some(service.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            name: Some(service.name.clone()),
            namespace: Some(service.namespace.clone()),
            uid,
            ..ObjectReference::default()
        },
        type_: Some("Normal".to_owned()),
        reason: Some("Announcing".to_owned()),
        message: Some(message),
        source: Some(EventSource {
            component: Some("naru-node".to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some("naru-node".to_owned()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..Event::default()
    }
}
