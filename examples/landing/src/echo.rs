//! Sends every datagram back, with the host's name in front.

use std::net::{Ipv4Addr, UdpSocket};

use crate::{Flags, serve};

/// Serves until the process ends.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let port: u16 = flags.number("port", 5353)?;
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|e| format!("port {port}: {e}"))?;
    let prefix = format!("{} ", serve::hostname());
    let mut buffer = [0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).map_err(|e| e.to_string())?;
        let answer = [prefix.as_bytes(), &buffer[..length]].concat();
        // A peer that went away makes sending fail; the next one is not its fault.
        socket.send_to(&answer, peer).ok();
    }
}
