//! An upgrade that changes the layout of maps which are filled from the API.
//!
//! Programs that read them would find them empty, and a node without facts drops everything. So the
//! links go on running the programs of the former build, with its maps, until the new ones are filled;
//! then they move. A directory beside the pins remembers that they have not, should the daemon die
//! meanwhile.

use std::fs;
use std::io::ErrorKind;

use naru_ebpf_common::names;

use super::Datapath;
use super::error::DatapathError;
use super::pins::Pins;

/// The maps that a node's packets cannot do without, and that the API fills.
const FILLED: [&str; 11] = [
    names::NODE_CONFIG,
    names::ENDPOINTS,
    names::IPCACHE,
    names::POLICY,
    names::SERVICES,
    names::BACKENDS,
    names::MEMBERS,
    names::MAGLEV,
    names::NAMESPACES,
    names::RANGES,
    names::BANDWIDTH,
];

/// Notes whether links of another build have to wait. To be called before anything is loaded.
///
/// # Errors
/// When the pins cannot be read or the note not be made.
pub(super) fn begin(pins: &Pins) -> Result<(), DatapathError> {
    let is_missing = |map: &&str| !pins.map(map).exists();
    if !pins.has_programs()? || !FILLED.iter().any(is_missing) {
        return Ok(());
    }
    let note = pins.takeover();
    match fs::create_dir(&note) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(DatapathError::path("create", &note)(error))
        }
        _ => Ok(()),
    }
}

impl Datapath {
    /// Whether links run the programs of another build until the maps of this one are filled.
    pub fn is_filling(&self) -> bool {
        self.pins.takeover().exists()
    }

    /// Notes that the maps are filled and every link runs a program of this build.
    ///
    /// # Errors
    /// When the note cannot be removed.
    pub fn has_taken_over(&self) -> Result<(), DatapathError> {
        let note = self.pins.takeover();
        match fs::remove_dir(&note) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(DatapathError::path("remove", &note)(error))
            }
            _ => Ok(()),
        }
    }
}
