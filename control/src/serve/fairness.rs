//! Flags of priority and fairness, named and counted as clients of Kubernetes know them.

use clap::{ArgAction, Args};
use naru_control::api::Fairness;

/// How much the server does at once, and for whom.
#[derive(Args, Debug)]
pub(super) struct FairnessArgs {
    /// Whether requests are told from each other, and wait for each other, by FlowSchemas and
    /// PriorityLevelConfigurations.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    enable_priority_and_fairness: bool,
    /// Together with --max-mutating-requests-inflight the requests at once that priority levels share.
    /// Without priority and fairness: those that read; 0: as many as come.
    #[arg(long, default_value_t = 400)]
    max_requests_inflight: u32,
    /// Together with --max-requests-inflight the requests at once that priority levels share. Without
    /// priority and fairness: those that write; 0: as many as come.
    #[arg(long, default_value_t = 200)]
    max_mutating_requests_inflight: u32,
}

impl FairnessArgs {
    /// What the server is told.
    ///
    /// # Errors
    /// When levels are to share nothing.
    pub(super) fn open(&self) -> anyhow::Result<Fairness> {
        let reading = self.max_requests_inflight as usize;
        let writing = self.max_mutating_requests_inflight as usize;
        if !self.enable_priority_and_fairness {
            return Ok(Fairness::limits(reading, writing));
        }
        anyhow::ensure!(
            reading + writing > 0,
            "--max-requests-inflight and --max-mutating-requests-inflight must add up to something \
             positive while --enable-priority-and-fairness is on"
        );
        Ok(Fairness::fair(reading + writing))
    }
}
