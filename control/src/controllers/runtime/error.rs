//! Errors of reconcilers: which call failed on which object, and whether trying again helps.

use thiserror::Error;

/// One failed call to the API.
#[derive(Debug, Error)]
#[error("{verb} {kind} {object}")]
pub struct ApiError {
    /// The verb, such as `create`.
    pub verb: &'static str,
    /// The kind that it was about.
    pub kind: String,
    /// `namespace/name`, or as much of it as is known.
    pub object: String,
    /// The client's answer.
    #[source]
    pub source: Box<kube::Error>,
}

impl ApiError {
    fn code(&self) -> u16 {
        match self.source.as_ref() {
            kube::Error::Api(status) => status.code,
            _ => 0,
        }
    }

    fn reason(&self) -> &str {
        match self.source.as_ref() {
            kube::Error::Api(status) => &status.reason,
            _ => "",
        }
    }

    /// The object is not there (any more).
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// Another writer was faster; the cache will catch up.
    pub fn is_conflict(&self) -> bool {
        self.code() == 409 && self.reason() != "AlreadyExists"
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.code() == 409 && self.reason() == "AlreadyExists"
    }

    /// The namespace is going away and takes no new content; what is in it goes, too.
    pub fn is_terminating(&self) -> bool {
        let kube::Error::Api(status) = self.source.as_ref() else {
            return false;
        };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        self.code() == 403
            && causes
                .into_iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// The object is invalid or the request is forbidden: repeating it changes nothing by itself.
    pub fn is_rejected(&self) -> bool {
        matches!(self.code(), 400 | 403 | 422)
    }

    /// The server's sentence, for events and conditions.
    pub fn message(&self) -> String {
        match self.source.as_ref() {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        }
    }
}

/// Why a reconcile did not finish. Every variant is retried with back-off by the worker.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// A call to the API failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The object's own fields make a plan impossible; an edit of the object wakes the key earlier.
    #[error("{object}: {fault}")]
    Invalid {
        /// `namespace/name`.
        object: String,
        /// What is wrong.
        fault: String,
    },
    /// Something is not finished yet; the object is looked at again with back-off.
    #[error("{object}: waiting for {what}")]
    Pending {
        /// `namespace/name`.
        object: String,
        /// What is awaited.
        what: String,
    },
}

impl ReconcileError {
    /// Part of normal operation: logged at debug level only.
    pub fn is_expected(&self) -> bool {
        match self {
            ReconcileError::Api(error) => {
                error.is_conflict()
                    || error.is_already_exists()
                    || error.is_not_found()
                    || error.is_terminating()
            }
            ReconcileError::Pending { .. } => true,
            ReconcileError::Invalid { .. } => false,
        }
    }

    /// Nothing is left to be done: trying again fails the same way until the object is gone.
    pub fn is_final(&self) -> bool {
        matches!(self, ReconcileError::Api(error) if error.is_terminating())
    }
}

/// The chain of an error on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(code: u16, reason: &str, cause: &str) -> ReconcileError {
        let status = json!({"status": "Failure", "message": "no", "reason": reason, "code": code,
            "details": {"causes": [{"reason": cause, "message": "no", "field": "f"}]}});
        let status = serde_json::from_value(status).unwrap();
        ReconcileError::Api(ApiError {
            verb: "create",
            kind: "Pod".into(),
            object: "shop/p".into(),
            source: Box::new(kube::Error::Api(status)),
        })
    }

    #[test]
    fn races_are_normal_and_a_terminating_namespace_is_the_end() {
        for (code, reason, cause, expected, last) in [
            (409, "Conflict", "", true, false),
            (409, "AlreadyExists", "", true, false),
            (404, "NotFound", "", true, false),
            (403, "Forbidden", "NamespaceTerminating", true, true),
            (403, "Forbidden", "", false, false),
            (422, "Invalid", "", false, false),
        ] {
            let error = refused(code, reason, cause);
            assert_eq!(
                (error.is_expected(), error.is_final()),
                (expected, last),
                "{code} {cause}"
            );
        }
    }
}
