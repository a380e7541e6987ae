//! The gRPC service `naru.node.v1.Flows`: messages, client and server as generated from
//! `proto/flows.proto`, where every field is described.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated code; the description is the documentation"
)]

tonic::include_proto!("naru.node.v1");
