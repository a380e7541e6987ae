//! Taking over from a build whose maps have another layout: every table is filled from the API before
//! the first link moves to the programs that read it ([`crate::datapath::Datapath::is_filling`]).
//!
//! Until then the node's packets are judged by what the former daemon knew last. A pod that is attached
//! meanwhile has the new programs at once.

use std::sync::Arc;
use std::time::Duration;

use super::open::OpenError;
use super::{Network, chain};

const RETRY: Duration = Duration::from_secs(1);

/// Component of the node's health.
const COMPONENT: &str = "upgrade";

/// The loops whose first round fills maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    Node,
    Services,
    Policies,
}

/// Which of them have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filled(u8);

impl Filled {
    const ALL: Self = Self(0b111);

    fn and(self, which: Loop) -> Self {
        Self(self.0 | 1 << which as u8)
    }
}

pub(super) async fn run(network: Arc<Network>) {
    if !network.datapath.is_filling() {
        return;
    }
    let waits = "the programs of the former build run until the API has filled this one's maps";
    network.health.set(COMPONENT, Some(waits.to_owned()));
    let mut filled = network.filled.subscribe();
    // The sender lives as long as the network.
    let _ = filled.wait_for(|filled| *filled == Filled::ALL).await;
    while let Err(error) = network.take_over().await {
        network.health.set(COMPONENT, Some(chain(&error)));
        tokio::time::sleep(RETRY).await;
    }
    network.health.set(COMPONENT, None);
}

impl Network {
    /// Notes that a loop has filled its maps.
    pub(super) fn has_filled(&self, which: Loop) {
        self.filled.send_if_modified(|filled| {
            let before = std::mem::replace(filled, filled.and(which));
            before != *filled
        });
    }

    /// Moves every link to the programs of this build.
    async fn take_over(&self) -> Result<(), OpenError> {
        let _alone = self.moving.write().await;
        self.attach_all().await?;
        self.datapath.finish_growth()?;
        self.datapath.forget_other_builds()?;
        self.datapath.has_taken_over()?;
        tracing::info!("maps are filled, links moved");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_to_have_filled_theirs() {
        let all = [Loop::Policies, Loop::Node, Loop::Services];
        let mut filled = Filled::default();
        for which in all {
            assert_ne!(filled, Filled::ALL);
            filled = filled.and(which).and(which);
        }
        assert_eq!(filled, Filled::ALL);
    }
}
