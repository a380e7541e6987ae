//! The front door: connections to the host's loopback, carried into the outside namespace.
//!
//! The listeners are bound in the host's namespace; then the process moves into `outside` and dials
//! from there, so that a client on the host stands where the world beyond the cluster stands, and
//! neither a link nor a route appears on the machine. Two threads per connection: a door for people
//! and tests, not for load.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// Ports on the host's loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Leads to the API server.
    pub api: u16,
    /// Leads to node 1's ingress.
    pub ingress: u16,
}

impl Ports {
    /// The ports of the cluster called `dev`; any other gets free ones.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn choose(cluster: &str) -> Result<Self> {
        if cluster == "dev" {
            return Ok(Self {
                api: 16443,
                ingress: 18080,
            });
        }
        // Both are held until both are known, so that they differ.
        let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (api, ingress) = (hold()?, hold()?);
        Ok(Self {
            api: api.local_addr()?.port(),
            ingress: ingress.local_addr()?.port(),
        })
    }
}

/// One way through the door, written `LISTEN=TARGET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Address on the host.
    pub listen: SocketAddr,
    /// Address as seen from the outside namespace.
    pub target: SocketAddr,
}

impl FromStr for Forward {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (listen, target) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("{text:?}: LISTEN=TARGET"))?;
        let parse = |a: &str| a.parse().with_context(|| format!("address {a:?}"));
        Ok(Self {
            listen: parse(listen)?,
            target: parse(target)?,
        })
    }
}

impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.listen, self.target)
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When an address is taken or the namespace is missing.
pub fn serve(netns: &Path, forwards: &[Forward]) -> Result<()> {
    let bind = |f: &Forward| {
        TcpListener::bind(f.listen).with_context(|| format!("listen on {}", f.listen))
    };
    let listeners = forwards.iter().map(bind).collect::<Result<Vec<_>>>()?;
    let namespace = File::open(netns).with_context(|| netns.display().to_string())?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("enter the outside namespace")?;
    thread::scope(|scope| {
        for (listener, forward) in listeners.iter().zip(forwards) {
            scope.spawn(|| accept(listener, forward.target));
        }
    });
    Ok(())
}

fn accept(listener: &TcpListener, target: SocketAddr) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(thread::spawn(move || carry(&stream, target))),
            // Out of descriptors: wait for connections to end instead of spinning.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Dropping `client` on a failed dial closes it: that is what the client sees of a closed port.
fn carry(client: &TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&target, DIAL_LIMIT) else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    thread::scope(|scope| {
        scope.spawn(|| pump(client, &server));
        pump(&server, client);
    });
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    let done = copy(&mut from, &mut to);
    // A clean end passes on as a half-close; a broken side ends both directions.
    let how = if done.is_ok() {
        Shutdown::Write
    } else {
        Shutdown::Both
    };
    to.shutdown(how).ok();
    if done.is_err() {
        from.shutdown(Shutdown::Both).ok();
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_reads_back_what_it_writes() {
        let text = "127.0.0.1:16443=192.168.77.11:6443";
        assert_eq!(text.parse::<Forward>().unwrap().to_string(), text);
        assert!("127.0.0.1:1".parse::<Forward>().is_err());
    }

    #[test]
    fn a_half_close_passes_through() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let (target, entry) = (server.local_addr().unwrap(), door.local_addr().unwrap());
        thread::spawn(move || accept(&door, target));
        let mut client = TcpStream::connect(entry).unwrap();
        client.write_all(b"ping").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        peer.write_all(b"pong").unwrap();
        drop(peer);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!((got.as_str(), answer.as_str()), ("ping", "pong"));
    }

    #[test]
    fn two_clusters_get_different_ports() {
        let ports = Ports::choose("e2e").unwrap();
        assert_ne!(ports.api, ports.ingress);
        assert_eq!(
            Ports::choose("dev").unwrap(),
            Ports {
                api: 16443,
                ingress: 18080
            }
        );
    }
}
