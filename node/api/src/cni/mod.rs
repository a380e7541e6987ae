//! The local protocol between the CNI plugin and the daemon: one JSON request and one JSON reply
//! per connection on a Unix socket, each ended by closing the writing side.
//!
//! The plugin checks what can be checked without the node and renders the reply in the version
//! that the runtime asked for; the daemon does all the rest. Source: CNI specification 1.1.0.

mod config;
mod error;
mod invocation;
mod result;

use serde::{Deserialize, Serialize};

pub use config::{Attachment, DEFAULT_SOCKET, NetworkConfig, SUPPORTED_VERSIONS, Version};
pub use error::{CniError, code};
pub use invocation::{Invocation, parse_args};
pub use result::{AddResult, Interface, IpConfig, Route};

/// What a runtime can ask of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// Attach a container to the network.
    Add,
    /// Detach it; no error if it is not attached.
    Del,
    /// Is it still attached as it was?
    Check,
    /// Release everything that is not in the list of valid attachments.
    Gc,
    /// Could an ADD work now?
    Status,
    /// Which versions are supported? Answered by the plugin alone.
    Version,
}

/// What the plugin asks the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The verb.
    pub command: Command,
    /// The environment of the call, checked for syntax.
    pub invocation: Invocation,
    /// The network configuration.
    pub config: NetworkConfig,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// ADD worked.
    Added(AddResult),
    /// Another verb worked; there is nothing to print.
    Done,
    /// It did not work, and nothing was changed.
    Failed(CniError),
}
