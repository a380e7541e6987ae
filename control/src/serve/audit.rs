//! Flags of the audit log, named and counted as clients of Kubernetes know them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use naru_control::api::{Audit, AuditError, AuditLimits};

/// What is recorded and where.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// File with a Policy of audit.k8s.io/v1: which requests are recorded, and how much of them.
    #[arg(long, requires = "audit_log_path")]
    audit_policy_file: Option<PathBuf>,
    /// File for events, a line of JSON each; "-" for standard output.
    #[arg(long, requires = "audit_policy_file")]
    audit_log_path: Option<PathBuf>,
    /// MiB after which the file is turned over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    audit_log_maxsize: u64,
    /// Days after which a turned file is removed; 0: never.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=36500))]
    audit_log_maxage: u64,
    /// Turned files that are kept; 0: all.
    #[arg(long, default_value_t = 0)]
    audit_log_maxbackup: usize,
    /// How events get to the file. batch: no request waits for it, and events for which a slow or
    /// full disk leaves no room are lost and counted.
    #[arg(long, default_value = "batch", value_parser = ["batch"])]
    #[allow(dead_code, reason = "there is one mode")]
    audit_log_mode: String,
}

impl AuditArgs {
    /// The audit log, if one is wanted.
    ///
    /// # Errors
    /// When the policy has no sense or the log cannot be opened.
    pub(super) fn open(&self) -> Result<Option<Audit>, AuditError> {
        let (Some(policy), Some(log)) = (&self.audit_policy_file, &self.audit_log_path) else {
            return Ok(None);
        };
        let limits = AuditLimits {
            size: self.audit_log_maxsize << 20,
            age: Duration::from_secs(self.audit_log_maxage * 24 * 3600),
            backups: self.audit_log_maxbackup,
        };
        Audit::open(policy, log, limits).map(Some)
    }
}
