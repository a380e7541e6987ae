//! A server of the gRPC health protocol (`grpc.health.v1.Health/Check`), for probes of that kind.
//!
//! It speaks as much HTTP/2 (RFC 9113) as one call on one stream needs, and reads no header: every
//! call is answered with the state of the whole server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use crate::Flags;
use crate::signal::Termination;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// `END_STREAM`, and `ACK` of settings and pings.
const END: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status 200` and `content-type application/grpc`, by the static table (RFC 7541).
const RESPONSE: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// Serves until SIGTERM. The server is sick while the file `--sick` exists.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let port: u16 = flags.number("port", 9000)?;
    let sick = flags.text("sick", "/tmp/sick");
    let termination = Termination::hold();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|e| format!("port {port}: {e}"))?;
    println!("answering health checks on port {port}");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sick = sick.clone();
            thread::spawn(move || serve(&stream, Path::new(&sick)));
        }
    });
    termination.wait();
    Ok(())
}

fn serve(mut stream: &TcpStream, sick: &Path) -> io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    if preface != PREFACE {
        return Err(ErrorKind::InvalidData.into());
    }
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let asked = Frame::read(&mut stream)?;
        match (asked.kind, asked.flags & END != 0) {
            (SETTINGS, false) => stream.write_all(&frame(SETTINGS, END, 0, &[]))?,
            (PING, false) => stream.write_all(&frame(PING, END, 0, &asked.payload))?,
            (HEADERS | DATA, true) => stream.write_all(&answer(asked.stream, sick.exists()))?,
            (GOAWAY, _) => return Ok(()),
            _ => {}
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload)?;
        Ok(Self {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload,
        })
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Headers, one message (`SERVING` is 1, `NOT_SERVING` 2, in field 1) and trailers.
fn answer(stream: u32, is_sick: bool) -> Vec<u8> {
    let message = [0, 0, 0, 0, 2, 8, if is_sick { 2 } else { 1 }];
    [
        frame(HEADERS, END_HEADERS, stream, RESPONSE),
        frame(DATA, 0, stream, &message),
        frame(HEADERS, END_HEADERS | END, stream, TRAILERS),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = frame(HEADERS, END, 7, b"abc");
        let read = Frame::read(&mut &bytes[..]).unwrap();
        assert_eq!((read.kind, read.flags, read.stream), (HEADERS, END, 7));
        assert_eq!(read.payload, b"abc");
        assert!(Frame::read(&mut &bytes[..11]).is_err());
    }
}
