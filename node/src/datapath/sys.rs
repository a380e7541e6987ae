//! Three commands of bpf(2) for which aya has no public call: look at a pinned link, and give it
//! another program. Source of the layouts: linux/bpf.h, `union bpf_attr` and `struct bpf_link_info`.
#![allow(unsafe_code, reason = "bpf(2) is reached by syscall(2) alone")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_UPDATE: libc::c_int = 29;

const LINK_TYPE_CGROUP: u32 = 3;
const LINK_TYPE_TCX: u32 = 11;

/// Where a link is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A network interface, by index.
    Link(u32),
    /// A cgroup, by id (the inode number of its directory).
    Cgroup(u64),
    /// Something else, or something that is gone.
    Other,
}

/// What the kernel says of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkInfo {
    /// Id of its program.
    pub(super) program: u32,
    /// Where it is attached.
    pub(super) target: Target,
}

#[repr(C)]
#[derive(Default)]
struct ObjGet {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old: u32,
}

/// The beginning of `struct bpf_link_info`, with the union read as for cgroup (id) and tcx (index).
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    target: u64,
    attach_type: u32,
    rest: [u32; 19],
}

/// Opens what is pinned at `path`.
///
/// # Errors
/// As bpf(2).
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjGet {
        path: path.as_ptr() as u64,
        ..ObjGet::default()
    };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    // SAFETY: BPF_OBJ_GET returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Describes a link.
///
/// # Errors
/// As bpf(2).
pub(super) fn link_info(link: &OwnedFd) -> io::Result<LinkInfo> {
    let mut raw = RawLinkInfo::default();
    let mut attr = GetInfo {
        fd: descriptor(link.as_raw_fd()),
        length: size_of::<RawLinkInfo>() as u32,
        info: std::ptr::from_mut(&mut raw) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let target = match (raw.kind, raw.target) {
        (LINK_TYPE_TCX, target) => match target as u32 {
            0 => Target::Other,
            index => Target::Link(index),
        },
        (LINK_TYPE_CGROUP, id) if id != 0 => Target::Cgroup(id),
        _ => Target::Other,
    };
    Ok(LinkInfo {
        program: raw.program,
        target,
    })
}

/// Gives a link another program, atomically.
///
/// # Errors
/// As bpf(2).
pub(super) fn update_link(link: &OwnedFd, program: &impl AsFd) -> io::Result<()> {
    let program = program.as_fd().as_raw_fd();
    let mut attr = LinkUpdate {
        link: descriptor(link.as_raw_fd()),
        program: descriptor(program),
        ..LinkUpdate::default()
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// An open descriptor is never negative.
fn descriptor(fd: RawFd) -> u32 {
    fd.unsigned_abs()
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` is a `repr(C)` prefix of `union bpf_attr` and is passed with its own size; the
    // kernel takes the bytes behind it as zero. Pointers inside it outlive the call: the callers
    // above hold the path and the info they point to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as RawFd)
    }
}
