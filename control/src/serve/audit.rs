//! Flags of the audit log, named and counted as clients of Kubernetes know them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use naru_control::api::{Audit, AuditLimits, AuditLog, AuditWebhook};

/// What is recorded and where.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// File with a Policy of audit.k8s.io/v1: which requests are recorded, and how much of them.
    #[arg(long)]
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
    /// batch: no request waits for the file, and events for which a slow or full disk leaves no room
    /// are lost and counted. blocking: a request waits until its events are written.
    #[arg(long, default_value = "batch", value_parser = ["batch", "blocking"])]
    audit_log_mode: String,
    /// Kubeconfig of a server that events are posted to.
    #[arg(long, requires = "audit_policy_file")]
    audit_webhook_config_file: Option<PathBuf>,
    /// batch: events are posted in lists, and those that a slow server leaves no room for are lost and
    /// counted. blocking: a request waits until its events are posted.
    #[arg(long, default_value = "batch", value_parser = ["batch", "blocking"])]
    audit_webhook_mode: String,
    /// Events of one list, at most.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    audit_webhook_batch_max_size: u32,
    /// How long a list waits for more events, such as 30s or 1m30s.
    #[arg(long, default_value = "30s", value_parser = duration)]
    audit_webhook_batch_max_wait: Duration,
    /// How long to wait before a list is posted for the second time.
    #[arg(long, default_value = "10s", value_parser = duration)]
    audit_webhook_initial_backoff: Duration,
}

/// A time as Kubernetes writes it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let time = naru_control::api::duration(text);
    time.ok_or_else(|| format!("{text:?} is no time such as 30s or 1m30s"))
}

impl AuditArgs {
    /// What is recorded, if anything is.
    ///
    /// # Errors
    /// When the policy has no sense or a place for events is none.
    pub(super) fn open(&self) -> anyhow::Result<Option<Audit>> {
        let Some(policy) = &self.audit_policy_file else {
            return Ok(None);
        };
        let (log, webhook) = (self.log(), self.webhook());
        if log.is_none() && webhook.is_none() {
            anyhow::bail!(
                "--audit-policy-file needs --audit-log-path or --audit-webhook-config-file"
            );
        }
        Ok(Some(Audit::open(policy, log.as_ref(), webhook.as_ref())?))
    }

    fn log(&self) -> Option<AuditLog> {
        let limits = AuditLimits {
            size: self.audit_log_maxsize << 20,
            age: Duration::from_secs(self.audit_log_maxage * 24 * 3600),
            backups: self.audit_log_maxbackup,
        };
        Some(AuditLog {
            path: self.audit_log_path.clone()?,
            limits,
            blocking: self.audit_log_mode == "blocking",
        })
    }

    fn webhook(&self) -> Option<AuditWebhook> {
        Some(AuditWebhook {
            kubeconfig: self.audit_webhook_config_file.clone()?,
            most: self.audit_webhook_batch_max_size as usize,
            wait: self.audit_webhook_batch_max_wait,
            backoff: self.audit_webhook_initial_backoff,
            blocking: self.audit_webhook_mode == "blocking",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_units() {
        for (text, milliseconds) in [("30s", 30_000), ("1.5s", 1_500), ("50ms", 50), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for wrong in ["", "30", "s", "1d", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
