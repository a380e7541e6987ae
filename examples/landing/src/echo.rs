//! Sends every datagram back, with the host's name in front; and the client that asks.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::{Flags, load, serve};

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

/// How long a client waits for an answer before it sends again.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 6;

/// Sends a datagram until an answer comes, and prints the answer.
pub(crate) fn ask(flags: &Flags) -> Result<(), String> {
    let target = load::resolve(&flags.required("target")?)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| e.to_string())?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(|e| e.to_string())?;
    let mut buffer = [0; 2048];
    for _ in 0..TRIES {
        // Refused: an earlier datagram met a closed port; the next may not.
        if socket.send_to(b"ping", target).is_err() {
            continue;
        }
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            println!("{} from {peer}", String::from_utf8_lossy(&buffer[..length]));
            return Ok(());
        }
    }
    Err(format!("{target} does not answer"))
}
