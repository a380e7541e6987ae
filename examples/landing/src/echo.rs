//! Sends every datagram back, with the host's name in front; and the client that asks.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::{Flags, load, serve};

/// Serves until the process ends.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let port: u16 = flags.number("port", 5353)?;
    let host: IpAddr = flags.number("host", Ipv4Addr::UNSPECIFIED.into())?;
    let socket = UdpSocket::bind((host, port)).map_err(|e| format!("port {port}: {e}"))?;
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

/// How long a client that stays waits between two datagrams.
const BEAT: Duration = Duration::from_millis(100);

/// Sends datagrams on one connected socket until an operation fails, and prints how it ended. Says
/// `started` after the first answer.
pub(crate) fn stay(flags: &Flags) -> Result<(), String> {
    let target = load::resolve(&flags.required("target")?)?;
    let beats: u32 = flags.number("seconds", 30)? * 10;
    let socket = UdpSocket::bind((any_like(target), 0)).map_err(|e| e.to_string())?;
    let set_up = socket.connect(target);
    let set_up = set_up.and_then(|()| socket.set_read_timeout(Some(BEAT)));
    set_up.map_err(|e| e.to_string())?;
    let mut started = false;
    for _ in 0..beats {
        match socket
            .send(b"ping")
            .and_then(|_| socket.recv(&mut [0; 2048]))
        {
            Ok(_) if started => std::thread::sleep(BEAT),
            Ok(_) => {
                println!("started");
                started = true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => {
                println!("ended: {error}");
                return Ok(());
            }
        }
    }
    Err("nothing ended the socket".to_owned())
}

/// Every address of this host in the family of `target`.
fn any_like(target: SocketAddr) -> IpAddr {
    if target.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// Sends a datagram until an answer comes, and prints the answer.
pub(crate) fn ask(flags: &Flags) -> Result<(), String> {
    let target = load::resolve(&flags.required("target")?)?;
    let from: u16 = flags.number("from", 0)?;
    let socket =
        UdpSocket::bind((any_like(target), from)).map_err(|e| format!("port {from}: {e}"))?;
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
