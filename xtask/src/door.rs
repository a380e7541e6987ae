//! The hidden subcommand that serves a cluster's front door.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use naru_tests::support::door::{self, Forward};

/// Arguments of `cargo xtask door`.
#[derive(Debug, Args)]
pub(crate) struct DoorArgs {
    /// File of the namespace from which it dials.
    netns: PathBuf,
    /// `LISTEN=TARGET`, for example `127.0.0.1:16443=192.168.77.11:6443`.
    #[arg(required = true)]
    forwards: Vec<Forward>,
}

impl DoorArgs {
    /// Serves until the process ends.
    pub(crate) fn serve(&self) -> Result<()> {
        door::serve(&self.netns, &self.forwards)
    }
}
