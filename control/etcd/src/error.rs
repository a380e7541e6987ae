//! What a call can answer instead of a result.

use tonic::{Code, Status};

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[error("etcd {call}: {message}")]
pub struct Error {
    /// Name of the call, as in the interface description.
    pub call: &'static str,
    /// gRPC status code.
    pub code: Code,
    /// etcd's own words.
    pub message: String,
    unsent: bool,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No member is named.
    #[error("no etcd server is named")]
    Nobody,
    /// An address is no URL, or its TLS settings are not usable.
    #[error("the etcd server {url}")]
    Member {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
}

impl Error {
    pub(crate) fn new(call: &'static str, status: &Status) -> Self {
        Self {
            call,
            code: status.code(),
            message: words(status),
            unsent: never_sent(status),
        }
    }

    /// The request never left: whatever it wanted did not happen.
    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent
    }

    /// Another member may know better: this one is away, or apart from the others.
    pub(crate) fn is_members_fault(&self) -> bool {
        self.unsent
            || matches!(
                self.code,
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
            )
    }

    /// etcd's quota is used up (`NOSPACE`): only deletions are taken.
    pub fn is_full(&self) -> bool {
        self.code == Code::ResourceExhausted && self.message.contains("space exceeded")
    }

    /// The request has more bytes than etcd takes (`--max-request-bytes`).
    pub fn is_too_large(&self) -> bool {
        self.code == Code::InvalidArgument && self.message.contains("request is too large")
    }

    /// The revision that was asked for is compacted away.
    pub fn is_compacted(&self) -> bool {
        self.code == Code::OutOfRange && self.message.contains("compacted")
    }

    /// Whether a write that answered this may have happened all the same.
    pub fn is_unknown(&self) -> bool {
        !self.unsent
            && matches!(
                self.code,
                Code::Unavailable
                    | Code::Unknown
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Internal
            )
    }
}

/// The message with its causes: those of transport errors say little by themselves.
fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_is_understood() {
        let error = |status: Status| Error::new("Txn", &status);
        let full = error(Status::resource_exhausted(
            "etcdserver: mvcc: database space exceeded",
        ));
        assert!(full.is_full() && !full.is_unknown());
        let busy = error(Status::resource_exhausted("etcdserver: too many requests"));
        assert!(!busy.is_full() && !busy.is_unknown());
        let large = error(Status::invalid_argument("etcdserver: request is too large"));
        assert!(large.is_too_large() && !large.is_unknown());
        let gone = error(Status::out_of_range(
            "etcdserver: mvcc: required revision has been compacted",
        ));
        assert!(gone.is_compacted() && !gone.is_unknown());
        let lost = error(Status::unavailable("etcdserver: request timed out"));
        assert!(lost.is_unknown() && lost.is_members_fault());
    }
}
