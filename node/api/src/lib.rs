//! naru-node-api
