//! An HTTP/1.1 server that tells about itself. One thread per connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Flags;
use crate::call;
use crate::signal::Termination;

/// An idle connection is closed after this long, so that abandoned ones do not pile up.
const IDLE: Duration = Duration::from_secs(300);
const MAX_BODY: usize = 16 << 20;

/// Set by `/fail` and cleared by `/recover`: the state of `/health`.
static SICK: AtomicBool = AtomicBool::new(false);

/// Connections that wait for an answer: from accept to the first one, later ones from their request.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// How long requests may take after the signal to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until SIGTERM, then answers what has been asked already.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let port: u16 = flags.number("port", 8080)?;
    let termination = Termination::hold();
    let host: IpAddr = flags.number("host", Ipv4Addr::UNSPECIFIED.into())?;
    let listener = TcpListener::bind((host, port)).map_err(|e| format!("port {port}: {e}"))?;
    println!("serving on port {port}");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let waiting = Busy::begin();
            thread::spawn(move || serve(&stream, waiting));
        }
    });
    termination.wait();
    let begin = Instant::now();
    while BUSY.load(Ordering::SeqCst) > 0 && begin.elapsed() < DRAIN {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The name of the host, which is the name of the pod.
pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// One that waits, until dropped.
struct Busy;

impl Busy {
    fn begin() -> Self {
        BUSY.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(stream: &TcpStream, first: Busy) -> Option<()> {
    stream.set_read_timeout(Some(IDLE)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let mut first = Some(first);
    loop {
        let request = Request::read(&mut reader)?;
        let waiting = first.take().unwrap_or_else(Busy::begin);
        if request.path.starts_with("/stream") {
            drop(waiting);
            return drip(stream);
        }
        let answer = answer(&request, stream);
        // What the load generator asks for would fill the log.
        if request.path != "/ping" {
            println!("{} {} {}", request.method, request.path, answer.code);
        }
        let mut writer = stream;
        let written = writer.write_all(&answer.bytes(request.keep_alive));
        drop(waiting);
        written.ok()?;
        if !request.keep_alive {
            // The client closes first, as the one that asked to: TIME_WAIT then stays on its side.
            std::io::copy(&mut reader, &mut std::io::sink()).ok();
            return Some(());
        }
    }
}

/// Sends a line every 50 ms for as long as the peer reads.
fn drip(mut stream: &TcpStream) -> Option<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        .ok()?;
    for tick in 0_u64.. {
        writeln!(stream, "{} {tick}", hostname()).ok()?;
        thread::sleep(Duration::from_millis(50));
    }
    Some(())
}

struct Request {
    method: String,
    path: String,
    keep_alive: bool,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        let mut words = first.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = read_headers(reader)?;
        let lower = headers.to_ascii_lowercase();
        let length = header(&lower, "content-length")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0_usize);
        let mut body = vec![0; length.min(MAX_BODY)];
        reader.read_exact(&mut body).ok()?;
        let keep_alive = header(&lower, "connection") != Some("close");
        Some(Self {
            method,
            path,
            keep_alive,
            headers,
            body,
        })
    }
}

fn read_headers(reader: &mut impl BufRead) -> Option<String> {
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if line.trim().is_empty() {
            return Some(headers);
        }
        headers.push_str(&line);
    }
}

fn header<'a>(lower: &'a str, name: &str) -> Option<&'a str> {
    lower
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

struct Answer {
    code: u16,
    body: Vec<u8>,
}

impl Answer {
    fn bytes(&self, keep_alive: bool) -> Vec<u8> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {} Landing\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            self.code,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

fn answer(request: &Request, stream: &TcpStream) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let (first, rest) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_start_matches('/'), ""));
    let text = |code, body: String| Answer {
        code,
        body: body.into_bytes(),
    };
    match first {
        "env" => {
            std::env::var(rest).map_or_else(|_| text(404, format!("no {rest}\n")), |v| text(200, v))
        }
        "file" => std::fs::read(format!("/{rest}")).map_or_else(
            |e| text(404, format!("{e}\n")),
            |body| Answer { code: 200, body },
        ),
        "delay" => {
            thread::sleep(Duration::from_millis(rest.parse().unwrap_or(0)));
            text(200, about(path, stream))
        }
        "status" => text(rest.parse().unwrap_or(500), String::new()),
        "health" if SICK.load(Ordering::Relaxed) => text(503, "sick\n".into()),
        "fail" => {
            SICK.store(true, Ordering::Relaxed);
            text(200, "sick from now on\n".into())
        }
        "recover" => {
            SICK.store(false, Ordering::Relaxed);
            text(200, "well again\n".into())
        }
        "exit" => std::process::exit(rest.parse().unwrap_or(1)),
        "call" => called(rest),
        "api" => match std::env::var("UPSTREAM") {
            Ok(upstream) => called(&format!("{upstream}/{rest}")),
            Err(_) => text(200, about(path, stream)),
        },
        "headers" => text(200, request.headers.clone()),
        "echo" => Answer {
            code: 200,
            body: request.body.clone(),
        },
        _ => text(200, about(path, stream)),
    }
}

/// Asks another server; 502 when it does not answer.
fn called(target: &str) -> Answer {
    let (address, path) = target.split_once('/').unwrap_or((target, ""));
    match call::get(address, &format!("/{path}")) {
        Ok((code, body)) => Answer { code, body },
        Err(error) => Answer {
            code: 502,
            body: format!("{address}: {error}\n").into_bytes(),
        },
    }
}

fn about(path: &str, stream: &TcpStream) -> String {
    let version = std::env::var("VERSION").unwrap_or_default();
    let peer = stream
        .peer_addr()
        .map(|a| a.ip().to_canonical().to_string())
        .unwrap_or_default();
    format!(
        "hostname {}\nversion {version}\npath {path}\npeer {peer}\n",
        hostname()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_headers_and_body() {
        let raw =
            b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
        let request = Request::read(&mut &raw[..]).unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/echo")
        );
        assert_eq!(
            (request.keep_alive, request.body.as_slice()),
            (false, &b"hi"[..])
        );
    }

    #[test]
    fn a_connection_that_ends_is_no_request() {
        assert!(Request::read(&mut &b""[..]).is_none());
    }
}
