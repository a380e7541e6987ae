//! Whether the uplink's driver sends packets on.

use super::{Network, chain};
use crate::config::Acceleration;
use crate::datapath::Attached;

/// Component of the node's health.
const COMPONENT: &str = "load-balancer-acceleration";

impl Network {
    /// Gives the uplink's driver its program where that is asked for, and takes it away elsewhere. A
    /// driver that can't have it is a fault that is told, for without it all goes on as well, only
    /// slower.
    pub(super) fn attach_wire(&self) -> Option<Attached> {
        let uplink = &self.uplink;
        if self.config.load_balancer_acceleration == Acceleration::None {
            self.datapath.detach_wire(&uplink.name);
            return None;
        }
        let attached = self.datapath.attach_wire(&uplink.name, uplink.index);
        let fault = attached.as_ref().err().map(|error| {
            let why = chain(error);
            format!("packets are sent on by the stack, not by the driver: {why}")
        });
        self.health.set(COMPONENT, fault);
        attached.ok()
    }
}
