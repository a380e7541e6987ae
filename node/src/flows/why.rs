//! What would happen to a connection.

use naru_node_api::flows::{WhyRequest, WhyResponse};
use tonic::Status;

use crate::network::Network;

/// Explains a connection from a pod of this node.
pub(super) fn explain(_network: &Network, _request: &WhyRequest) -> Result<WhyResponse, Status> {
    Err(Status::unimplemented("not yet"))
}
