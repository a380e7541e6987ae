//! Commands of bpf(2) for which aya has no public call: look at a pinned link and give it another
//! program, make a map of any size, read a whole map in few calls. Source of the layouts:
//! linux/bpf.h, `union bpf_attr` and `struct bpf_link_info`.
#![allow(unsafe_code, reason = "bpf(2) is reached by syscall(2) alone")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;
use nix::libc;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_UPDATE: libc::c_int = 29;

const MAP_TYPE_LRU_HASH: u32 = 9;

const LINK_TYPE_CGROUP: u32 = 3;
const LINK_TYPE_XDP: u32 = 6;
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
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct LookupBatch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
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

/// The beginning of `struct bpf_link_info`, with the union read as for cgroup (id), tcx and XDP (index).
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

/// Makes an LRU hash map of `entries`, known to the kernel by the first 15 bytes of `name`.
///
/// # Errors
/// As bpf(2): ENOMEM where there is no room for it.
pub(super) fn create_lru<K: Pod, V: Pod>(name: &str, entries: u32) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        kind: MAP_TYPE_LRU_HASH,
        key_size: size_of::<K>() as u32,
        value_size: size_of::<V>() as u32,
        max_entries: entries,
        ..MapCreate::default()
    };
    let named = attr.name.iter_mut().zip(name.bytes()).take(15);
    named.for_each(|(to, from)| *to = from);
    let fd = bpf(BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: BPF_MAP_CREATE returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads a hash map, many entries with each call, and hands them to `each`. What the map holds all
/// the while comes once; what is written or removed meanwhile may come or not.
///
/// # Errors
/// As bpf(2).
pub(super) fn walk<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(K, V),
) -> io::Result<()> {
    /// Bytes of entries for one call.
    const ROOM: usize = 256 << 10;
    // The kernel hands out whole buckets, which have hardly more than some entries.
    let mut count = (ROOM / (size_of::<K>() + size_of::<V>())).max(64);
    // Where to go on is a number of 32 bits for hash maps.
    let (mut from, mut next) = (None::<u32>, 0_u32);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    loop {
        keys.resize(count, MaybeUninit::<K>::uninit());
        values.resize(count, MaybeUninit::<V>::uninit());
        let mut attr = LookupBatch {
            from: from
                .as_ref()
                .map_or(0, |from| std::ptr::from_ref(from) as u64),
            next: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: count as u32,
            map: descriptor(map.as_raw_fd()),
            ..LookupBatch::default()
        };
        let end = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::ENOSPC) => {
                    count *= 2;
                    continue;
                }
                _ => return Err(error),
            },
        };
        for (key, value) in keys.iter().zip(&values).take(attr.count as usize) {
            // SAFETY: the kernel has written `attr.count` keys and values, whose types are plain
            // bytes (`Pod`).
            let (key, value) = unsafe { (key.assume_init(), value.assume_init()) };
            each(key, value);
        }
        if end {
            return Ok(());
        }
        from = Some(next);
    }
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
        (LINK_TYPE_TCX | LINK_TYPE_XDP, target) => match target as u32 {
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
