//! Attaching: pinned links, taken over as they are, moved to a newer program in one step, or made.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use naru_ebpf_common::{names, overlay};

use super::Datapath;
use super::error::DatapathError;
use super::sys::{self, Target};

/// Priority of our filters where clsact stands in for tcx. With a handle of its own, a filter is
/// found again by the next daemon.
const FILTER: NlOptions = NlOptions {
    priority: 1,
    handle: tc::TcHandle::new(0, 1),
    classid: None,
};

/// What an attach did; tests assert that a restart does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The link and its program were as they should be.
    Kept,
    /// The link runs another program now.
    Replaced,
    /// The link is new.
    Made,
}

impl Datapath {
    /// Attaches both programs of a pod to the host side of its veth.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_pod(&self, link: &str, ifindex: u32) -> Result<[Attached; 2], DatapathError> {
        Ok([
            self.attach_tc(names::FROM_POD, link, ifindex, TcAttachType::Ingress)?,
            self.attach_tc(names::TO_POD, link, ifindex, TcAttachType::Egress)?,
        ])
    }

    /// Attaches the program of the uplink.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_uplink(&self, link: &str, ifindex: u32) -> Result<Attached, DatapathError> {
        self.attach_tc(names::FROM_NETWORK, link, ifindex, TcAttachType::Ingress)
    }

    /// Attaches the program of the overlay's device.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_overlay(&self, link: &str, ifindex: u32) -> Result<Attached, DatapathError> {
        self.attach_tc(names::FROM_OVERLAY, link, ifindex, TcAttachType::Ingress)
    }

    /// Attaches the program that sees what the node's own stack sends through `link`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_own_network(&self, link: &str, ifindex: u32) -> Result<Attached, DatapathError> {
        self.attach_tc(names::TO_NETWORK, link, ifindex, TcAttachType::Egress)
    }

    /// Lets go of what the node's own stack sends through `link`.
    pub fn detach_own_network(&self, link: &str) {
        if self.features.tcx {
            let _ = fs::remove_file(self.pins.link(link, names::TO_NETWORK));
        } else {
            // An error means that there is no such filter.
            let _ = tc::qdisc_detach_program(link, TcAttachType::Egress, names::TO_NETWORK);
        }
    }

    /// Forgets the link of the overlay's device. The kernel detaches with the device.
    pub fn detach_overlay(&self) {
        for program in [names::FROM_OVERLAY, names::TO_NETWORK] {
            let _ = fs::remove_file(self.pins.link(overlay::DEVICE, program));
        }
    }

    /// Attaches the socket programs to the node's cgroup.
    ///
    /// # Errors
    /// When the directory is no cgroup2 or the kernel refuses.
    pub fn attach_cgroup(&self, cgroup: &Path) -> Result<Vec<Attached>, DatapathError> {
        let dir = File::open(cgroup).map_err(DatapathError::path("open cgroup", cgroup))?;
        let id = dir
            .metadata()
            .map_err(DatapathError::path("examine", cgroup))?
            .ino();
        names::CGROUP_PROGRAMS
            .iter()
            .map(|name| self.attach_hook(name, cgroup, &dir, id))
            .collect()
    }

    /// Forgets the links of a pod. The kernel detaches with the veth.
    pub fn detach_pod(&self, link: &str) {
        for program in [names::FROM_POD, names::TO_POD] {
            let _ = fs::remove_file(self.pins.link(link, program));
        }
    }

    /// Names of the host links for which pins exist.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn attached_pods(&self) -> Result<Vec<String>, DatapathError> {
        let suffix = format!("-{}", names::FROM_POD);
        let links = self.pins.links()?.into_iter();
        Ok(links
            .filter_map(|name| name.strip_suffix(&suffix).map(str::to_owned))
            .collect())
    }

    /// How many links run each program.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn links_per_program(&self) -> Result<HashMap<&'static str, u32>, DatapathError> {
        let mut links = HashMap::new();
        for name in self.pins.links()? {
            let program = name.rsplit_once('-').map(|(_, program)| program);
            for known in names::programs().filter(|known| Some(*known) == program) {
                *links.entry(known).or_insert(0) += 1;
            }
        }
        Ok(links)
    }

    /// The kernel's tag of each program, sorted by name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn program_tags(&self) -> Result<Vec<(&'static str, u64)>, DatapathError> {
        let programs = self.programs.lock();
        let tc = programs
            .tc
            .iter()
            .map(|(name, program)| (*name, program.info()));
        let cgroup = programs
            .cgroup
            .iter()
            .map(|(name, program)| (*name, program.info()));
        let wire = programs.wire.iter();
        let wire = wire.map(|program| (names::FROM_WIRE, program.info()));
        let tag = |(name, info): (&'static str, Result<ProgramInfo, ProgramError>)| {
            let info = info.map_err(DatapathError::attach(name, "the kernel"))?;
            Ok((name, info.tag()))
        };
        let mut tags = tc
            .chain(cgroup)
            .chain(wire)
            .map(tag)
            .collect::<Result<Vec<_>, _>>()?;
        tags.sort_unstable();
        Ok(tags)
    }

    /// Clears away the programs and maps of other builds, once every link runs a program of this one.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_other_builds(&self) -> Result<(), DatapathError> {
        self.pins.forget_others(self.programs.lock().objects.iter())
    }

    fn attach_tc(
        &self,
        name: &'static str,
        link: &str,
        ifindex: u32,
        direction: TcAttachType,
    ) -> Result<Attached, DatapathError> {
        let mut programs = self.programs.lock();
        let program = programs
            .tc
            .get_mut(name)
            .ok_or(DatapathError::NotEmbedded(name))?;
        if !self.features.tcx {
            return attach_filter(program, name, link, direction);
        }
        let pin = self.pins.link(link, name);
        let adopted = adopt(
            &pin,
            Target::Link(ifindex),
            program.fd(),
            program.info().map(|i| i.id()),
        );
        if let Some(adopted) = adopted.map_err(DatapathError::attach(name, link))? {
            return Ok(adopted);
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let id = program.attach_with_options(link, direction, options);
        let id = id.map_err(DatapathError::attach(name, link))?;
        let made = program
            .take_link(id)
            .map_err(DatapathError::attach(name, link))?;
        let made = FdLink::try_from(made).map_err(DatapathError::attach(name, link))?;
        made.pin(&pin).map_err(DatapathError::attach(name, link))?;
        Ok(Attached::Made)
    }

    fn attach_hook(
        &self,
        name: &'static str,
        path: &Path,
        cgroup: &File,
        id: u64,
    ) -> Result<Attached, DatapathError> {
        let target = path.display().to_string();
        let mut programs = self.programs.lock();
        let program = programs
            .cgroup
            .get_mut(name)
            .ok_or(DatapathError::NotEmbedded(name))?;
        let pin = self.pins.link("cgroup", name);
        let adopted = adopt(
            &pin,
            Target::Cgroup(id),
            program.fd(),
            program.info().map(|i| i.id()),
        );
        if let Some(adopted) = adopted.map_err(DatapathError::attach(name, &target))? {
            return Ok(adopted);
        }
        let made = program
            .attach(cgroup)
            .map_err(DatapathError::attach(name, &target))?;
        made.pin(&pin)
            .map_err(DatapathError::attach(name, &target))?;
        Ok(Attached::Made)
    }
}

type AttachError = Box<dyn std::error::Error + Send + Sync>;

/// Takes over the link pinned at `pin` if it is attached to `target`; a pin of something that is
/// gone is removed.
pub(super) fn adopt<F: std::os::fd::AsFd, E: std::error::Error + Send + Sync + 'static>(
    pin: &Path,
    target: Target,
    fd: Result<&F, E>,
    id: Result<u32, E>,
) -> Result<Option<Attached>, AttachError> {
    if !pin.exists() {
        return Ok(None);
    }
    let link = sys::pinned(pin)?;
    let info = sys::link_info(&link)?;
    if info.target != target {
        fs::remove_file(pin)?;
        return Ok(None);
    }
    if info.program == id? {
        return Ok(Some(Attached::Kept));
    }
    sys::update_link(&link, fd?)?;
    Ok(Some(Attached::Replaced))
}

/// The way before tcx. The filter has a fixed priority and handle, so that attaching again replaces
/// it in place.
fn attach_filter(
    program: &mut SchedClassifier,
    name: &'static str,
    link: &str,
    direction: TcAttachType,
) -> Result<Attached, DatapathError> {
    // An error means that the qdisc is there already; a real one shows in the next step.
    let _ = tc::qdisc_add_clsact(link);
    let options = TcAttachOptions::Netlink(FILTER);
    let id = program.attach_with_options(link, direction, options);
    let id = id.map_err(DatapathError::attach(name, link))?;
    let filter = program
        .take_link(id)
        .map_err(DatapathError::attach(name, link))?;
    // Dropping it would remove the filter, which shall outlive the daemon.
    std::mem::forget(filter);
    Ok(Attached::Made)
}
