//! A node's data path, and how one of its programs is run.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya_obj::programs::XdpAttachType;
use naru_ebpf_common::names;
use naru_node::datapath::{Datapath, Hooks};
use naru_tests::support::run;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

/// What a program says of a packet (linux/pkt_cls.h): to the stack, to nobody, to another interface.
pub(crate) const PASS: u32 = 0;
pub(crate) const DROP: u32 = 2;
pub(crate) const REDIRECT: u32 = 7;
/// What the program of the uplink's driver says of one (linux/bpf.h): to the stack, back out.
pub(crate) const TO_STACK: u32 = 2;
pub(crate) const SENT: u32 = 3;

/// Room for what a program adds to a frame.
const GROWTH: usize = 64;

/// The tc hooks whose packets are measured.
const PROGRAMS: [&str; 4] = [
    names::FROM_POD,
    names::TO_POD,
    names::FROM_NETWORK,
    names::TO_NETWORK,
];

/// Bytes of `struct xdp_md`, and where in it the length and the link are.
const CONTEXT: usize = 24;
const END: std::ops::Range<usize> = 4..8;
const LINK: std::ops::Range<usize> = 12..16;

/// What makes an uplink of which the kernel knows the ways to the outside and to another node.
const UPLINK: &str = "link add uplink type veth peer name wire
link set uplink up
link set wire up
addr add 192.168.77.101/24 dev uplink
neigh add 192.168.77.2 lladdr 02:00:00:00:00:02 dev uplink nud permanent
neigh add 192.168.77.102 lladdr 02:00:00:00:01:02 dev uplink nud permanent
route add 10.250.0.0/16 via 192.168.77.102 dev uplink";

/// Namespaces of this thread alone, with a bpffs that nobody else sees. All ends with the value.
pub(crate) struct Ground {
    bpffs: tempfile::TempDir,
    /// The uplink's interface index.
    pub(crate) uplink: u32,
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
        for line in UPLINK.lines() {
            run::checked(Command::new("ip").args(line.split(' ')))?;
        }
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let uplink = if_nametoindex("uplink")?;
        Ok(Self { bpffs, uplink })
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
    /// [`PASS`], [`DROP`] or [`REDIRECT`]; of the uplink's driver [`TO_STACK`] or [`SENT`].
    pub(crate) action: u32,
    /// Of each run, without what the kernel does before the first and after the last.
    pub(crate) took: Duration,
}

/// The data path of a node, with maps of its own.
pub(crate) struct Node {
    pub(crate) datapath: Datapath,
    programs: HashMap<&'static str, SchedClassifier>,
    wire: Xdp,
    /// The uplink's interface index.
    uplink: u32,
}

impl Node {
    /// As the daemon opens it.
    pub(crate) fn open(ground: &Ground, name: &str) -> Result<Self> {
        let root = ground.bpffs.path().join(name);
        let hooks = Hooks {
            overlay: false,
            wire: true,
        };
        let datapath = Datapath::open(&root, hooks, names::CONNTRACK_SIZE)?;
        let pins = root.join("programs");
        let tc = |name| Ok((name, SchedClassifier::from_pin(pinned(&pins, name)?)?));
        let wire = pinned(&pins, names::FROM_WIRE)?;
        Ok(Self {
            datapath,
            programs: PROGRAMS.into_iter().map(tc).collect::<Result<_>>()?,
            wire: Xdp::from_pin(wire, XdpAttachType::Interface)?,
            uplink: ground.uplink,
        })
    }

    /// Runs a program on a frame `repeat` times; each run finds the frame as the last one left it.
    pub(crate) fn run(&self, program: &str, frame: &[u8], repeat: u32) -> Result<Ran> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        };
        let result = if program == names::FROM_WIRE {
            self.driven(frame, options)?
        } else {
            self.programs[program].test_run(options)?
        };
        Ok(Ran {
            action: result.return_value,
            took: result.duration,
        })
    }

    /// Runs the program of the uplink's driver on a frame that came by the uplink.
    fn driven(&self, frame: &[u8], options: TestRunOptions<'_>) -> Result<TestRunResult> {
        let mut context = [0; CONTEXT];
        context[END].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[LINK].copy_from_slice(&self.uplink.to_ne_bytes());
        Ok(self.wire.test_run(TestRunOptions {
            ctx_in: Some(&context),
            ..options
        })?)
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

/// Where the daemon's data path has pinned a program: its name is followed by its object's hash.
fn pinned(pins: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}-");
    let mut entries = fs::read_dir(pins)?.flatten();
    let pin = entries
        .find(|pin| pin.file_name().to_string_lossy().starts_with(&prefix))
        .with_context(|| format!("no program {name} is pinned"))?;
    Ok(pin.path())
}
