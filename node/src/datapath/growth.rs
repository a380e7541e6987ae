//! Larger tables for flows, without losing any.
//!
//! A map has its size from the beginning, and a program its maps from when it was loaded. So a
//! larger table is a new map, with programs loaded anew for it, to which every link is moved; what
//! the former map holds is carried along, once before the links move and once after it, for what was
//! written in between. All the while packets travel. One that belongs to a flow opened in the
//! milliseconds in which links move may be judged as one of no flow; its sender sends it again.
//!
//! Whenever the daemon dies in between, the pins tell the next one how far it came:
//!
//! | pins | what it does |
//! |---|---|
//! | the map, and its `next` | nothing depends on that yet: it is removed |
//! | `former` alone | the same: it gets its name back |
//! | the map, and its `former` | the map is the larger one: programs, links and entries follow |
//!
//! Only what grows with the number of flows grows; no map becomes smaller before the next boot.

use std::fs;
use std::hash::Hash;
use std::path::Path;

use aya::Pod;
use aya::maps::{MapData, MapInfo};
use aya::programs::ProgramInfo;
use naru_ebpf_common::{Conn, NatEntry, NatKey, Tuple, names};

use super::error::DatapathError;
use super::held::{Held, failed};
use super::pins::{Pins, remove};
use super::sys;
use super::table::pinned;

/// The maps that grow, each with its entries in a table of so many flows.
pub(super) fn sizes(flows: u32) -> [(&'static str, u32); 2] {
    [(names::CONNTRACK, flows), (names::NAT, flows / 2)]
}

/// Clears away what a daemon left that died before anything depended on it.
///
/// # Errors
/// When a pin cannot be moved or removed.
pub(super) fn recover(pins: &Pins) -> Result<(), DatapathError> {
    for (name, _) in sizes(0) {
        remove(&pins.next(name))?;
        if pins.former(name).exists() && !pins.map(name).exists() {
            rename(&pins.former(name), &pins.map(name))?;
        }
    }
    Ok(())
}

/// Whether a growth has begun and is not finished.
pub(super) fn is_going_on(pins: &Pins) -> bool {
    sizes(0).iter().any(|(name, _)| pins.former(name).exists())
}

/// Puts larger maps in the place of those that are too small for `flows`. Returns whether a growth is
/// going on now; one that was before is finished first, and there is none before there are maps.
///
/// # Errors
/// When the kernel has no room for them: then nothing has changed.
pub(super) fn begin(pins: &Pins, flows: u32) -> Result<bool, DatapathError> {
    if is_going_on(pins) {
        return Ok(true);
    }
    if !sizes(flows).iter().all(|(name, _)| pins.map(name).exists()) {
        return Ok(false);
    }
    let mut small = Vec::new();
    for (name, entries) in sizes(flows) {
        if info(pins, name)?.max_entries() < entries {
            small.push((name, entries));
        }
    }
    let made = small
        .iter()
        .try_for_each(|(name, entries)| make(pins, name, *entries));
    if let Err(error) = made {
        recover(pins)?;
        return Err(error);
    }
    for (name, _) in &small {
        rename(&pins.map(name), &pins.former(name))?;
        rename(&pins.next(name), &pins.map(name))?;
    }
    Ok(!small.is_empty())
}

/// Gives the former maps their places back. No link may run a program of the larger ones.
///
/// # Errors
/// When a pin cannot be moved.
pub(super) fn undo(pins: &Pins) -> Result<(), DatapathError> {
    for (name, _) in sizes(0) {
        if pins.former(name).exists() {
            rename(&pins.former(name), &pins.map(name))?;
        }
    }
    Ok(())
}

/// Whether a pinned program uses another map than the one that is pinned under its name.
///
/// # Errors
/// When the kernel refuses to tell.
pub(super) fn is_of_former(pins: &Pins, program: &Path) -> Result<bool, DatapathError> {
    let unknown = |error| DatapathError::path("examine", program)(std::io::Error::other(error));
    let used = ProgramInfo::from_pin(program).and_then(|info| info.map_ids());
    for id in used.map_err(unknown)?.unwrap_or_default() {
        // A map that is gone meanwhile is none of ours: a program keeps its own.
        let Ok(used) = MapInfo::from_id(id) else {
            continue;
        };
        for (name, _) in sizes(0) {
            if used.name() == name.as_bytes()
                && pins.map(name).exists()
                && info(pins, name)?.id() != id
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Carries what is only in the former maps over to the larger ones. Returns how many entries.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn catch_up(pins: &Pins) -> Result<usize, DatapathError> {
    let flows = carry_over::<Tuple, Conn>(pins, names::CONNTRACK)?;
    Ok(flows + carry_over::<NatKey, NatEntry>(pins, names::NAT)?)
}

/// The last step, when every link runs a program of the larger maps.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn finish(pins: &Pins) -> Result<usize, DatapathError> {
    let carried = catch_up(pins)?;
    for (name, _) in sizes(0) {
        remove(&pins.former(name))?;
    }
    Ok(carried)
}

fn carry_over<K: Pod + Eq + Hash, V: Pod>(
    pins: &Pins,
    name: &'static str,
) -> Result<usize, DatapathError> {
    if !pins.former(name).exists() {
        return Ok(0);
    }
    let former = MapData::from_pin(pins.former(name));
    let former = Held::<K, V>::new(name, former.map_err(DatapathError::map(name, "open"))?)?;
    let mut present = Held::<K, V>::new(name, pinned(pins, name)?)?;
    let (mut carried, mut fault) = (0, None);
    former.walk(name, |key, value| {
        match present.put_new(name, &key, &value) {
            Ok(new) => carried += usize::from(new),
            Err(error) => fault = Some(error),
        }
    })?;
    fault.map_or(Ok(carried), Err)
}

fn make(pins: &Pins, name: &'static str, entries: u32) -> Result<(), DatapathError> {
    let made = match name {
        names::CONNTRACK => sys::create_lru::<Tuple, Conn>(name, entries),
        _ => sys::create_lru::<NatKey, NatEntry>(name, entries),
    };
    let made = made.map_err(failed(name, "make a larger", "BPF_MAP_CREATE"))?;
    let made = MapData::from_fd(made).map_err(DatapathError::map(name, "open"))?;
    let pin = pins.next(name);
    made.pin(&pin)
        .map_err(|error| DatapathError::path("pin", pin)(std::io::Error::other(error)))
}

fn info(pins: &Pins, name: &'static str) -> Result<MapInfo, DatapathError> {
    MapInfo::from_pin(pins.map(name)).map_err(DatapathError::map(name, "examine"))
}

fn rename(from: &Path, to: &Path) -> Result<(), DatapathError> {
    fs::rename(from, to).map_err(DatapathError::path("rename", from))
}
