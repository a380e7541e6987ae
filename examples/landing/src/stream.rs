//! One long connection to `landing serve`, read until the end; reports every break.
//!
//! Prints at the end: `lines N breaks N longest_gap_ms N`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Flags;
use crate::load::{End, resolve};

/// A stream that says nothing for this long counts as broken.
const SILENCE: Duration = Duration::from_secs(5);

/// Reads for the given time, or until standard input ends.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let address = resolve(&flags.required("target")?)?;
    let end = End::of(flags)?;
    let mut seen = Seen {
        lines: 0,
        breaks: 0,
        longest: Duration::ZERO,
        last: Instant::now(),
    };
    while !end.reached() {
        if let Err(error) = follow(address, &end, &mut seen) {
            seen.breaks += 1;
            println!("break after {} lines: {error}", seen.lines);
        }
    }
    println!(
        "lines {} breaks {} longest_gap_ms {}",
        seen.lines,
        seen.breaks,
        seen.longest.as_millis()
    );
    Ok(())
}

struct Seen {
    lines: u64,
    breaks: u64,
    longest: Duration,
    last: Instant,
}

fn follow(address: SocketAddr, end: &End, seen: &mut Seen) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: stream\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    seen.last = Instant::now();
    while !end.reached() {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if seen.lines == 0 {
            println!("started");
        }
        seen.lines += 1;
        seen.longest = seen.longest.max(seen.last.elapsed());
        seen.last = Instant::now();
    }
    Ok(())
}
