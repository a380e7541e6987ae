//! The client's side of HTTP/1.1, as far as `serve` speaks it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::Flags;

const LIMIT: Duration = Duration::from_secs(2);

/// Asks for a URL and prints the body; fails for any status but success.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let url = flags.required("url")?;
    let rest = url
        .strip_prefix("http://")
        .ok_or(format!("{url}: http://HOST[:PORT]/PATH"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let (code, body) = get(&address, &format!("/{path}")).map_err(|e| format!("{url}: {e}"))?;
    print!("{}", String::from_utf8_lossy(&body));
    if (200..300).contains(&code) {
        Ok(())
    } else {
        Err(format!("{url}: status {code}"))
    }
}

/// Asks `address` (`HOST:PORT`) for `path`; returns status code and body.
pub(crate) fn get(address: &str, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let resolved = address
        .to_socket_addrs()?
        .next()
        .ok_or(ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&resolved, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    read_response(&mut stream)
}

/// Reads one response; its body ends where Content-Length says.
pub(crate) fn read_response(stream: &mut impl Read) -> io::Result<(u16, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => seen.extend_from_slice(&buffer[..n]),
        }
        if let Some(response) = complete(&seen) {
            return Ok(response);
        }
    }
}

/// Status code and body, once all is there.
fn complete(seen: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = seen.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok());
    let body = seen.get(end..end + length.unwrap_or(0))?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_body() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(complete(head), None);
        assert_eq!(
            complete(&[&head[..], b"hi"].concat()),
            Some((200, b"hi".to_vec()))
        );
    }
}
