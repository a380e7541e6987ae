//! What a call can answer instead of a result.

use tonic::Code;

/// A failed CRI call.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {message}")]
pub struct Error {
    /// Name of the call, as in the interface description.
    pub call: &'static str,
    /// gRPC status code.
    pub code: Code,
    /// The runtime's own words.
    pub message: String,
}

impl Error {
    pub(crate) fn new(call: &'static str, status: &tonic::Status) -> Self {
        Self {
            call,
            code: status.code(),
            message: status.message().to_owned(),
        }
    }

    /// The object named in the call is unknown to the runtime.
    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound || self.message.contains("not found")
    }

    /// The runtime does not know the call: it is older than the interface.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Code::Unimplemented
    }

    /// The runtime could not be reached at all.
    pub fn is_unavailable(&self) -> bool {
        self.code == Code::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_that_wrap_not_found_in_unknown_are_understood() {
        let wrapped =
            tonic::Status::unknown("an error occurred when try to find sandbox: not found");
        assert!(Error::new("StopPodSandbox", &wrapped).is_not_found());
        let other = tonic::Status::unknown("disk full");
        assert!(!Error::new("StopPodSandbox", &other).is_not_found());
    }
}
