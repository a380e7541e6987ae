//! The group batch: work that ends.

pub(super) mod cron_job;
pub(super) mod job;
mod schedule;
