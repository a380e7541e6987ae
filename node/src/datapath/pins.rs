//! Where maps, programs and links are pinned, and which pins are of another build.
//!
//! A map's pin carries the version of its layout, a program's the hash of its object; a link's
//! carries neither. So an upgrade moves every link to the new program in one atomic step, keeps
//! each map whose layout is the same with all it holds, and loses only what it cannot read. While a
//! map gives way to a larger one ([`super::growth`]), each has a pin.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use naru_ebpf_common::names;

use super::bpffs;
use super::error::DatapathError;
use super::objects::Object;

/// Directories of layouts that were versioned as a whole. Their links stand in the way of new ones.
const FORMER: [&str; 2] = ["v1", "v2"];

/// What the pins of maps that come and go end in.
const NEXT: &str = "-next";
const PREVIOUS: &str = "-former";

/// The pins below a directory of a bpffs.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    maps: PathBuf,
    programs: PathBuf,
    links: PathBuf,
    takeover: PathBuf,
}

impl Pins {
    /// Sees to it that there is a bpffs with the directories.
    ///
    /// # Errors
    /// When a directory cannot be made or the file system not be mounted.
    pub(super) fn prepare(root: &Path) -> Result<Self, DatapathError> {
        let pins = Self {
            maps: root.join("maps"),
            programs: root.join("programs"),
            links: root.join("links"),
            takeover: root.join("takeover"),
        };
        bpffs::prepare(root, &[&pins.maps, &pins.programs, &pins.links])?;
        for former in FORMER
            .map(|name| root.join(name))
            .iter()
            .filter(|d| d.exists())
        {
            fs::remove_dir_all(former).map_err(DatapathError::path("clear", former))?;
            tracing::warn!(dir = %former.display(), "pins of a former layout removed, open flows are judged anew");
        }
        pins.tell_of_changes()?;
        Ok(pins)
    }

    /// The pin of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps.join(map_pin(name))
    }

    /// The pin of a map that is to take the place of another, once it can.
    pub(super) fn next(&self, name: &str) -> PathBuf {
        self.maps.join(map_pin(name) + NEXT)
    }

    /// The pin of a map whose place another has taken.
    pub(super) fn former(&self, name: &str) -> PathBuf {
        self.maps.join(map_pin(name) + PREVIOUS)
    }

    /// The pin of the program that `object` holds.
    pub(super) fn program(&self, object: &Object) -> PathBuf {
        self.programs.join(object.pin())
    }

    /// The pin of a program's link. bpffs allows no dot in a name; Linux allows no slash in a link's.
    pub(super) fn link(&self, link: &str, program: &str) -> PathBuf {
        self.links
            .join(format!("{}-{program}", link.replace('.', "_")))
    }

    /// What is there while links wait for maps to be filled.
    pub(super) fn takeover(&self) -> PathBuf {
        self.takeover.clone()
    }

    /// Whether any build has pinned programs here.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn has_programs(&self) -> Result<bool, DatapathError> {
        Ok(!list(&self.programs)?.is_empty())
    }

    /// The names of all links' pins.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn links(&self) -> Result<Vec<String>, DatapathError> {
        let names = list(&self.links)?.into_iter();
        Ok(names.map(|n| n.to_string_lossy().into_owned()).collect())
    }

    /// Removes the pins of other builds' programs and of maps in another layout. What a link still
    /// uses lives on.
    ///
    /// # Errors
    /// When a directory cannot be read or a pin not be removed.
    pub(super) fn forget_others<'a>(
        &self,
        objects: impl Iterator<Item = &'a Object>,
    ) -> Result<(), DatapathError> {
        keep(&self.programs, &objects.map(Object::pin).collect())?;
        keep(&self.maps, &map_pins())
    }

    /// Says which maps a former build pinned in another layout: what they hold is lost, or filled anew.
    fn tell_of_changes(&self) -> Result<(), DatapathError> {
        let known = map_pins();
        for pin in list(&self.maps)? {
            let pin = pin.to_string_lossy();
            let name = pin.trim_end_matches(NEXT).trim_end_matches(PREVIOUS);
            if !known.contains(name) {
                tracing::warn!(map = %pin, "layout changed, what this map held is forgotten");
            }
        }
        Ok(())
    }
}

/// Removes a pin, if it is there.
pub(super) fn remove(pin: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DatapathError::path("remove", pin)(error))
        }
        _ => Ok(()),
    }
}

fn map_pin(name: &str) -> String {
    let version = names::MAPS.iter().find(|(map, _)| *map == name);
    format!("{name}-{}", version.map_or(0, |(_, version)| *version))
}

fn map_pins() -> HashSet<String> {
    names::MAPS.iter().map(|(name, _)| map_pin(name)).collect()
}

fn list(dir: &Path) -> Result<Vec<OsString>, DatapathError> {
    let entries = fs::read_dir(dir).map_err(DatapathError::path("list", dir))?;
    Ok(entries.flatten().map(|entry| entry.file_name()).collect())
}

fn keep(dir: &Path, known: &HashSet<String>) -> Result<(), DatapathError> {
    for name in list(dir)? {
        if !known.contains(name.to_string_lossy().as_ref()) {
            let pin = dir.join(name);
            fs::remove_file(&pin).map_err(DatapathError::path("remove", &pin))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(dir: &Path) -> Pins {
        let pins = Pins {
            maps: dir.join("maps"),
            programs: dir.join("programs"),
            links: dir.join("links"),
            takeover: dir.join("takeover"),
        };
        for dir in [&pins.maps, &pins.programs, &pins.links] {
            fs::create_dir(dir).unwrap();
        }
        pins
    }

    #[test]
    fn a_map_in_another_layout_is_forgotten_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pins = pins(dir.path());
        let (present, link) = (pins.map(names::CONNTRACK), pins.link("eth0.1", "from_pod"));
        let former = pins.maps.join(format!("{}-0", names::CONNTRACK));
        let program = pins.programs.join("from_pod-0123456789abcdef");
        for pin in [&present, &former, &program, &link] {
            fs::write(pin, "").unwrap();
        }
        pins.forget_others([].iter()).unwrap();
        assert!(present.exists() && link.exists());
        assert!(!former.exists() && !program.exists());
        assert_eq!(pins.links().unwrap(), ["eth0_1-from_pod"]);
    }

    #[test]
    fn every_map_has_a_version() {
        assert!(map_pins().iter().all(|pin| !pin.ends_with("-0")));
        assert_eq!(map_pins().len(), names::MAPS.len());
    }
}
