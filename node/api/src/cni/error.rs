//! The error that a plugin prints.

use serde::{Deserialize, Serialize};

/// Error codes of the CNI specification, section "Error"; 100 and above are our own.
pub mod code {
    /// The CNI version is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or does not exist.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A needed environment variable is missing or malformed.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Input or output failed.
    pub const IO_FAILURE: u32 = 5;
    /// The configuration is not JSON of the expected shape.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is well-formed and wrong.
    pub const INVALID_CONFIG: u32 = 7;
    /// Try again later: the daemon is not there or not ready yet.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: the plugin cannot serve ADD.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: as 50, and containers that run may have limited connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// No address of the node's pod range is free.
    pub const ADDRESSES_EXHAUSTED: u32 = 100;
    /// The kernel refused a step of the attachment.
    pub const KERNEL: u32 = 101;
    /// CHECK: the attachment is not as it was made.
    pub const ATTACHMENT_CHANGED: u32 = 102;
}

/// Code, sentence and details of a failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// One of [`code`].
    pub code: u32,
    /// What is wrong, for people.
    pub msg: String,
    /// The longer story, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same error with the longer story.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}

impl std::fmt::Display for CniError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.msg, self.code)
    }
}

impl std::error::Error for CniError {}
