//! HTTP verbs, discovery, negotiation, patch, watch streams, authentication, authorization.
//!
//! The path of a request: `listener` (TLS) → `dispatch` (who, may
//! they, what; `fairness`: is it their turn) → a verb of `verbs`,
//! which is generic over the kinds of `registry` → `write` (default, admit, prepare, validate,
//! store). Reads never leave memory. Callers inside the process use [`Internal`], the same path
//! without sockets.

mod addresses;
mod admission;
mod aggregation;
mod audit;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod convert;
mod custom;
mod decode;
mod discovery;
mod dispatch;
mod expiry;
mod fairness;
mod fields;
mod freshness;
mod gzip;
mod health;
mod json;
mod kinds;
mod listener;
mod managed;
mod meta;
mod metrics;
mod negotiate;
mod openapi;
mod operations;
mod options;
mod pages;
mod patch;
mod peers;
mod pieces;
mod protobuf;
mod proxy;
mod remote;
mod request;
mod reserving;
mod reviews;
mod roles;
mod selectors;
mod server;
mod snapshot;
mod status;
mod streams;
mod subresources;
mod table;
mod tokens;
mod value;
mod verbs;
mod watch;
mod write;
mod yaml;

pub use addresses::{AddressPlan, PlanError};
pub use admission::Exemptions;
pub use aggregation::{FRONT_PROXY, FrontProxy, run as follow_services};
pub use audit::{
    Audit, AuditError, Limits as AuditLimits, LogFile as AuditLog, PolicyError,
    Webhook as AuditWebhook,
};
pub use authn::{Extra, Oidc, OidcConfig, OidcError, StaticTokens, User};
pub use body::{Body, BoxError, Reply};
pub use bootstrap::{bootstrap, keep};
pub use custom::run as follow_definitions;
pub use dispatch::{Api, Internal};
pub use expiry::expire_events;
pub use fairness::{Fairness, duration, run as follow_priorities};
/// How a token may be signed (RFC 7518).
pub use jsonwebtoken::Algorithm as OidcAlgorithm;
pub use kinds::Kinds;
pub use listener::{ListenError, Listener};
pub use protobuf::read_protobuf;
pub use proxy::NodeClient;
pub use server::{Server, ServerConfig};
pub use tokens::{TokenError, Tokens};

/// Bytes of stack that a thread needs which answers requests: decoders recurse into documents as deep
/// as they allow them (64 levels of YAML, 128 of JSON), and a build without optimisation takes 33 KiB
/// for each level of YAML.
pub const STACK: usize = 8 << 20;
