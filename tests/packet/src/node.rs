//! A node's data path, and how one of its programs is run.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use naru_ebpf_common::names;
use naru_node::datapath::Datapath;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// What a program says of a packet (linux/pkt_cls.h): to the stack, to nobody, to another interface.
pub(crate) const PASS: u32 = 0;
pub(crate) const DROP: u32 = 2;
pub(crate) const REDIRECT: u32 = 7;

/// Room for what a program adds to a frame.
const GROWTH: usize = 64;

/// The hooks whose packets are measured.
const PROGRAMS: [&str; 3] = [names::FROM_POD, names::TO_POD, names::FROM_NETWORK];

/// Namespaces of this thread alone, with a bpffs that nobody else sees. All ends with the value.
pub(crate) struct Ground {
    bpffs: tempfile::TempDir,
}

impl Ground {
    /// Enters them.
    pub(crate) fn prepare() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let bpffs = tempfile::tempdir()?;
        mount(
            Some("bpf"),
            bpffs.path(),
            Some("bpf"),
            MsFlags::empty(),
            none,
        )?;
        Ok(Self { bpffs })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Else the directory could not be removed.
        let _ = umount2(self.bpffs.path(), MntFlags::MNT_DETACH);
    }
}

/// What a program did with a frame.
pub(crate) struct Ran {
    /// [`PASS`], [`DROP`] or [`REDIRECT`].
    pub(crate) action: u32,
    /// Of each run, without what the kernel does before the first and after the last.
    pub(crate) took: Duration,
}

/// The data path of a node, with maps of its own.
pub(crate) struct Node {
    pub(crate) datapath: Datapath,
    programs: HashMap<&'static str, SchedClassifier>,
}

impl Node {
    /// As the daemon opens it.
    pub(crate) fn open(ground: &Ground, name: &str) -> Result<Self> {
        let root = ground.bpffs.path().join(name);
        let datapath = Datapath::open(&root, false, names::CONNTRACK_SIZE)?;
        let pins = root.join("programs");
        let programs = PROGRAMS.map(|name| Ok((name, pinned(&pins, name)?)));
        Ok(Self {
            datapath,
            programs: programs.into_iter().collect::<Result<_>>()?,
        })
    }

    /// Runs a program on a frame `repeat` times; each run finds the frame as the last one left it.
    pub(crate) fn run(&self, program: &str, frame: &[u8], repeat: u32) -> Result<Ran> {
        let result = self.programs[program].test_run(TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        })?;
        Ok(Ran {
            action: result.return_value,
            took: result.duration,
        })
    }

    /// What a program makes of a frame that it lets go on.
    pub(crate) fn sent(&self, program: &str, frame: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; frame.len() + GROWTH];
        let result = self.programs[program].test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        })?;
        ensure!(
            result.return_value != DROP,
            "{program} drops what opens a flow"
        );
        out.truncate(result.data_size_out as usize);
        Ok(out)
    }

    /// Forgets every flow and translation.
    pub(crate) fn forget_flows(&self) -> Result<()> {
        let datapath = &self.datapath;
        datapath.conntrack.delete_all(&datapath.conntrack.keys()?)?;
        datapath.nat.delete_all(&datapath.nat.keys()?)?;
        Ok(())
    }
}

/// The program that the daemon's data path has pinned: its name is followed by its object's hash.
fn pinned(pins: &Path, name: &str) -> Result<SchedClassifier> {
    let prefix = format!("{name}-");
    let mut entries = fs::read_dir(pins)?.flatten();
    let pin = entries
        .find(|pin| pin.file_name().to_string_lossy().starts_with(&prefix))
        .with_context(|| format!("no program {name} is pinned"))?;
    Ok(SchedClassifier::from_pin(pin.path())?)
}
