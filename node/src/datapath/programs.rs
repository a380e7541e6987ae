//! The programs: adopted from their pins, loaded where the pins are missing or older.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use naru_ebpf_common::names;

use super::cgroup::{CgroupProgram, Hook};
use super::error::DatapathError;
use super::growth;
use super::objects::Object;
use super::pins::{Pins, remove};

/// The hooks that not every node has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hooks {
    /// The overlay's device.
    pub overlay: bool,
    /// The uplink's driver.
    pub wire: bool,
}

/// Every program, loaded and pinned.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) tc: HashMap<&'static str, SchedClassifier>,
    pub(super) cgroup: HashMap<&'static str, CgroupProgram>,
    /// The program of the uplink's driver, on a node that wants it.
    pub(super) wire: Option<Xdp>,
    pub(super) objects: Vec<Object>,
}

impl Programs {
    /// Adopts or loads every program, of `hooks` only those that are wanted. Maps are created with the
    /// first program that uses them, those of flows for `flows` of them.
    ///
    /// # Errors
    /// When an object is missing from the build, or the kernel refuses it.
    pub(super) fn open(pins: &Pins, hooks: Hooks, flows: u32) -> Result<Self, DatapathError> {
        let names = names::programs().filter(|name| match *name {
            names::FROM_OVERLAY => hooks.overlay,
            names::FROM_WIRE => hooks.wire,
            _ => true,
        });
        let objects = names.map(Object::of).collect::<Result<Vec<_>, _>>()?;
        load_missing(pins, &objects, flows)?;
        let mut programs = Self {
            tc: HashMap::new(),
            cgroup: HashMap::new(),
            wire: None,
            objects,
        };
        for object in programs.objects.clone() {
            programs.adopt(object.program, &pins.program(&object))?;
        }
        Ok(programs)
    }

    fn adopt(&mut self, name: &'static str, pin: &Path) -> Result<(), DatapathError> {
        match Hook::of(name) {
            Some(hook) => {
                let program = CgroupProgram::from_pin(pin, hook).map_err(failed(name))?;
                self.cgroup.insert(name, program);
            }
            None if name == names::FROM_WIRE => {
                let program = Xdp::from_pin(pin, XdpAttachType::Interface);
                self.wire = Some(program.map_err(failed(name))?);
            }
            None => {
                let program = SchedClassifier::from_pin(pin).map_err(failed(name))?;
                self.tc.insert(name, program);
            }
        }
        Ok(())
    }
}

fn load_missing(pins: &Pins, objects: &[Object], flows: u32) -> Result<(), DatapathError> {
    let mut missing = Vec::new();
    for object in objects {
        let pin = pins.program(object);
        if !pin.exists() || growth::is_of_former(pins, &pin)? {
            missing.push(object);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut loader = EbpfLoader::new();
    // Nothing is relocated against the kernel's types; parsing them would cost megabytes.
    loader.btf(None);
    for (map, _) in names::MAPS {
        loader.map_pin_path(map, pins.map(map));
    }
    for (map, entries) in growth::sizes(flows) {
        loader.map_max_entries(map, entries);
    }
    // Maps are made one object after the other, since objects share them.
    let prepared = missing.into_iter().map(|object| {
        let ebpf = loader.load(object.bytes);
        Ok((object, ebpf.map_err(failed(object.program))?))
    });
    let prepared = prepared.collect::<Result<Vec<_>, DatapathError>>()?;
    verify_all(pins, prepared)
}

/// Verifying is what takes long, and the kernel verifies on as many processors as it is asked from.
/// Pins change when all are verified, and not at all if one is refused.
fn verify_all(pins: &Pins, prepared: Vec<(&Object, Ebpf)>) -> Result<(), DatapathError> {
    let verified = std::thread::scope(|scope| {
        let verify = |(object, mut ebpf): (&Object, Ebpf)| {
            let (name, pin) = (object.program, pins.program(object));
            scope.spawn(move || verify(name, &mut ebpf).map(|()| (name, ebpf, pin)))
        };
        let verifiers: Vec<_> = prepared.into_iter().map(verify).collect();
        let outcomes = verifiers.into_iter().map(|verifier| {
            let outcome = verifier.join();
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // The first in order of the programs, so that one fault is always told in the same way.
        outcomes
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
    })?;
    verified
        .into_iter()
        .try_for_each(|(name, ebpf, to)| pin(name, ebpf, &to))
}

fn verify(name: &'static str, ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    let missing = || failed(name)("the object holds no program of its name".to_owned());
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    match program {
        Program::SchedClassifier(program) => {
            persist(|| program.load(), is_interrupted).map_err(failed(name))?
        }
        Program::Xdp(program) => {
            persist(|| program.load(), is_interrupted).map_err(failed(name))?
        }
        Program::CgroupSockAddr(program) => {
            persist(|| program.load(), is_interrupted).map_err(failed(name))?
        }
        Program::CgroupSock(program) => {
            persist(|| program.load(), is_interrupted).map_err(failed(name))?
        }
        other => {
            return Err(failed(name)(format!(
                "unexpected type {:?}",
                other.prog_type()
            )));
        }
    }
    Ok(())
}

/// Pins a program, in the place of one for other maps if there is one. Links keep what they run.
fn pin(name: &'static str, mut ebpf: Ebpf, to: &Path) -> Result<(), DatapathError> {
    let missing = || failed(name)("the object holds no program of its name".to_owned());
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    remove(to)?;
    program.pin(to).map_err(failed(name))?;
    tracing::info!(program = name, "loaded");
    Ok(())
}

/// The verifier gives up when its process gets a signal: a child that ends is enough.
fn persist<E>(
    mut load: impl FnMut() -> Result<(), E>,
    is_interrupted: fn(&E) -> bool,
) -> Result<(), E> {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        match load() {
            Err(error) if is_interrupted(&error) => {}
            outcome => return outcome,
        }
    }
    load()
}

fn is_interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. }
        if io_error.kind() == ErrorKind::WouldBlock)
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    program: &'static str,
) -> impl FnOnce(E) -> DatapathError {
    move |source| {
        let source: Box<dyn std::error::Error + Send + Sync> = source.into();
        DatapathError::Load {
            program,
            source: shorten(source),
        }
    }
}

/// The verifier's log can be megabytes, and what matters stands at its end.
fn shorten(
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Box<dyn std::error::Error + Send + Sync> {
    const BEGINNING: usize = 120;
    const END: usize = 600;
    let text = crate::network::chain(source.as_ref());
    if text.chars().count() <= BEGINNING + END {
        return source;
    }
    let beginning: String = text.chars().take(BEGINNING).collect();
    let end = text.char_indices().rev().nth(END).map_or(0, |(at, _)| at);
    format!("{beginning} […] {}", &text[end..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_verifier_is_asked_again_and_a_refusal_stands() {
        let after = |interruptions, end: Result<(), &'static str>| {
            let mut calls = 0;
            let outcome = persist(
                || {
                    calls += 1;
                    if calls > interruptions {
                        end
                    } else {
                        Err("interrupted")
                    }
                },
                |error| *error == "interrupted",
            );
            (outcome, calls)
        };
        assert_eq!(after(3, Ok(())), (Ok(()), 4));
        assert_eq!(after(0, Err("refused")), (Err("refused"), 1));
        assert_eq!(after(100, Ok(())), (Err("interrupted"), 10));
    }
}
