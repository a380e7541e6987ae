//! ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2: rules of the cluster's administrators,
//! which come before the NetworkPolicies of a namespace (tier Admin) or after them (tier Baseline).
//!
//! Everywhere else this kind is a custom one: the network-policy-api project publishes its definition,
//! and tools that use the kind look for it or apply it. So it is a definition here, too, and not a
//! built-in kind: applied over this one, the project's own is an update like any other, while a
//! built-in kind would hold its names against it. Checks, words of refusals, columns and the way in
//! which patches merge are then those that users of the kind know. What stands here is the standard
//! channel of bundle v0.2.0, and beside it the list of operators that selectors have, which the nodes
//! could only answer by failing closed.
//!
//! A definition that exists is left alone, whoever made it: a newer bundle or the experimental channel
//! stays what it is. One that is removed takes its policies along, and is made again empty.

use serde_json::{Value, json};

/// Name of the definition.
pub(crate) const NAME: &str = "clusternetworkpolicies.policy.networking.k8s.io";

/// The definition, as it is created.
pub(crate) fn definition() -> Value {
    json!({
        "metadata": {"name": NAME, "annotations": {
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/network-policy-api/pull/347",
            "policy.networking.k8s.io/bundle-version": "v0.2.0",
            "policy.networking.k8s.io/channel": "standard"}},
        "spec": {
            "group": "policy.networking.k8s.io",
            "names": {"kind": "ClusterNetworkPolicy", "listKind": "ClusterNetworkPolicyList",
                "plural": "clusternetworkpolicies", "singular": "clusternetworkpolicy",
                "shortNames": ["cnp"]},
            "scope": "Cluster",
            "versions": [{
                "name": "v1alpha2", "served": true, "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Tier", "type": "string", "jsonPath": ".spec.tier"},
                    {"name": "Priority", "type": "string", "jsonPath": ".spec.priority"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                "schema": {"openAPIV3Schema": policy()}}]}})
}

fn policy() -> Value {
    json!({
        "type": "object",
        "description": "Rules for the traffic of pods in the whole cluster, before or after the NetworkPolicies of their namespaces.",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec(),
            "status": status()}})
}

fn spec() -> Value {
    json!({
        "type": "object",
        "required": ["priority", "subject", "tier"],
        "properties": {
            "tier": {"type": "string", "enum": ["Admin", "Baseline"],
                "description": "Admin: before every NetworkPolicy. Baseline: after them, for pods that none of them isolates in the direction."},
            "priority": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 1000,
                "description": "The lower, the earlier within the tier. Policies of one tier should not share one."},
            "subject": one_of("The pods that the rules are about; those on the network of their node are never.", json!({
                "namespaces": selector("All pods of these namespaces."),
                "pods": pods("These pods of these namespaces.")})),
            "ingress": rules("from", "Who opens the flow."),
            "egress": rules("to", "Whom the flow is opened to.")}})
}

/// The rules of a direction, whose peers are in the field `peers`.
fn rules(peers: &str, whom: &str) -> Value {
    let mut fields = json!({
        "namespaces": selector("All pods of these namespaces."),
        "pods": pods("These pods of these namespaces.")});
    if peers == "to" {
        fields["networks"] = json!({
            "type": "array", "minItems": 1, "maxItems": 25, "x-kubernetes-list-type": "set",
            "description": "Networks; what pods have of their addresses belongs to them.",
            "items": {"type": "string", "maxLength": 43, "x-kubernetes-validations": [
                {"rule": "isCIDR(self)", "message": "Invalid CIDR format provided"}]}});
    }
    let peer = one_of(whom, fields);
    let mut rule = json!({
        "type": "object",
        "required": ["action", peers],
        "properties": {
            "name": {"type": "string", "maxLength": 100,
                "description": "What the rule is called where it decided."},
            "action": {"type": "string", "enum": ["Accept", "Deny", "Pass"],
                "description": "Accept and Deny decide. Pass goes on with the next tier."},
            "protocols": {"type": "array", "minItems": 1, "maxItems": 25, "items": protocol(),
                "description": "What the rule is limited to; everything if not said."}}});
    rule["properties"][peers] =
        json!({"type": "array", "minItems": 1, "maxItems": 25, "items": peer});
    json!({"type": "array", "maxItems": 25, "items": rule,
        "description": "In this order, the first rule that fits decides."})
}

fn protocol() -> Value {
    let ports = |protocol: &str| {
        let port = one_of(
            "The port that a flow is opened to.",
            json!({
            "number": port_number("The port."),
            "range": {"type": "object", "required": ["end", "start"],
                "description": "All ports from start to end.",
                "properties": {"start": port_number("The first."), "end": port_number("The last.")},
                "x-kubernetes-validations": [
                    {"rule": "self.start < self.end", "message": "Start port must be less than End port"}]}}),
        );
        json!({"type": "object", "minProperties": 1, "properties": {"destinationPort": port},
            "description": format!("Flows of {protocol}.")})
    };
    one_of(
        "A protocol and its ports.",
        json!({
            "tcp": ports("TCP"),
            "udp": ports("UDP"),
            "sctp": ports("SCTP"),
            "destinationNamedPort": {"type": "string",
                "description": "A port by the name that the called pod's container gives to it."}}),
    )
}

fn port_number(description: &str) -> Value {
    json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535,
        "description": description})
}

/// An object of which exactly one field is set.
fn one_of(description: &str, fields: Value) -> Value {
    json!({"type": "object", "minProperties": 1, "maxProperties": 1, "properties": fields,
        "description": description})
}

fn pods(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "required": ["podSelector"],
        "properties": {
            "namespaceSelector": selector("Labels of the namespaces; all if empty."),
            "podSelector": selector("Labels of the pods; all if empty.")}})
}

fn selector(description: &str) -> Value {
    let strings =
        json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"});
    json!({
        "type": "object",
        "description": description,
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": {"type": "string"},
                    "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    "values": strings}}}}})
}

fn status() -> Value {
    json!({
        "type": "object",
        "required": ["conditions"],
        "properties": {"conditions": {
            "type": "array",
            "description": "What acts on the policy may report here; Naru's nodes do not.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["lastTransitionTime", "message", "reason", "status", "type"],
                "properties": {
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "message": {"type": "string", "maxLength": 32768},
                    "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                    "reason": {"type": "string", "minLength": 1, "maxLength": 1024,
                        "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "type": {"type": "string", "maxLength": 316,
                        "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"}}}}}})
}
