//! The uplink's driver: the one hook that a kernel may refuse while all the rest goes on.

use std::fs;

use aya::programs::XdpMode;
use aya::programs::links::FdLink;
use naru_ebpf_common::names;

use super::attach::{Attached, adopt};
use super::error::DatapathError;
use super::sys::Target;
use super::{Datapath, Features};

impl Datapath {
    /// Attaches the program of the uplink's driver. What the driver cannot do is not done in its place
    /// by the kernel's generic way, which costs more than it saves.
    ///
    /// # Errors
    /// When the kernel or the driver refuses.
    pub fn attach_wire(&self, link: &str, ifindex: u32) -> Result<Attached, DatapathError> {
        let name = names::FROM_WIRE;
        let mut programs = self.programs.lock();
        let Some(program) = &mut programs.wire else {
            let Features { kernel, .. } = &self.features;
            return Err(DatapathError::Kernel {
                kernel: kernel.clone(),
                lacking: vec!["XDP for frames in several buffers (Linux 5.18)".to_owned()],
            });
        };
        let pin = self.pins.link(link, name);
        let id = program.info().map(|info| info.id());
        let adopted = adopt(&pin, Target::Link(ifindex), program.fd(), id);
        if let Some(adopted) = adopted.map_err(DatapathError::attach(name, link))? {
            return Ok(adopted);
        }
        let id = program.attach_to_if_index(ifindex, XdpMode::Driver);
        let made = id.and_then(|id| program.take_link(id));
        let made = made.map_err(DatapathError::attach(name, link))?;
        let made = FdLink::try_from(made).map_err(DatapathError::attach(name, link))?;
        made.pin(&pin).map_err(DatapathError::attach(name, link))?;
        Ok(Attached::Made)
    }

    /// Lets go of the uplink's driver, if it has the program.
    pub fn detach_wire(&self, link: &str) {
        let _ = fs::remove_file(self.pins.link(link, names::FROM_WIRE));
    }
}
