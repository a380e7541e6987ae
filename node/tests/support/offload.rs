//! What makes a veth like the link of a network card (linux/ethtool.h).
#![allow(unsafe_code, reason = "SIOCETHTOOL is an ioctl on a struct of C")]

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;

use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use naru_ebpf_common::names;
use nix::errno::Errno;
use nix::libc::{self, c_char};

use super::netns::Netns;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_STXCSUM`.
const CHECKSUMS: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Lets a link send packets as they are on a wire: with checksums, and large segments cut.
pub fn sends_whole(netns: &Netns, link: &str) {
    let name = link.to_owned();
    let done = netns.spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut value = Value {
            command: CHECKSUMS,
            data: 0,
        };
        // SAFETY: all bits zero is a value of the struct.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let bytes = request.ifr_name.iter_mut().zip(name.bytes());
        bytes.for_each(|(to, from)| *to = from as c_char);
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the request names a value that outlives the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        Errno::result(result).map(drop)
    });
    let done = done.join().expect("no panic");
    done.unwrap_or_else(|error| panic!("{link}: {error}"));
}

/// Lets a link take what the driver at its other end sends back: one without a program of its own does
/// not look. The program has its maps in `bpffs`, which is mounted; it ends with the value.
pub fn takes_back(netns: &Netns, link: &str, bpffs: &Path) -> Ebpf {
    let daemon = Path::new(env!("CARGO_BIN_EXE_naru-node"));
    let target = daemon.ancestors().nth(2).expect("a target directory");
    let object = target.join("bpf/from_wire.o");
    let name = link.to_owned();
    let pins = bpffs.join("other");
    std::fs::create_dir(&pins).expect("a directory");
    // In maps of its own it knows of no node, and lets all pass.
    let attached = netns.spawn(move || {
        let mut loader = EbpfLoader::new();
        for (map, _) in names::MAPS {
            loader.map_pin_path(map, pins.join(map));
        }
        let mut object = loader.load_file(object).expect("the object");
        let program = object.program_mut(names::FROM_WIRE).expect("its program");
        let program: &mut Xdp = program.try_into().expect("of that kind");
        program.load().expect("loaded");
        program.attach(&name, XdpMode::Driver).expect("attached");
        object
    });
    attached.join().expect("no panic")
}
