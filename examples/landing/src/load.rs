//! Asks again and again and counts what goes wrong: with a connection per request, or with one kept.
//!
//! Prints one line at the end: `requests N failures N refused N reset N timeout N status N p50_us N
//! p99_us N max_us N`, and the first failures as they happen.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Flags;
use crate::call;

const LIMIT: Duration = Duration::from_secs(5);
const SHOWN: usize = 10;

/// Runs for the given time, or until standard input ends, and prints the counts.
pub(crate) fn run(flags: &Flags) -> Result<(), String> {
    let target = flags.required("target")?;
    let job = Job {
        address: resolve(&target)?,
        request: request(
            &flags.text("path", "/ping"),
            &flags.text("host", &target),
            flags.truth("keep-alive"),
        ),
        keep_alive: flags.truth("keep-alive"),
    };
    let end = End::of(flags)?;
    let mut counts = Counts::default();
    let mut kept = None;
    println!("started");
    while !end.reached() {
        let begin = Instant::now();
        let outcome = job.once(&mut kept);
        counts.add(begin.elapsed(), outcome);
    }
    println!("{}", counts.line());
    Ok(())
}

/// When to stop.
pub(crate) struct End {
    begin: Instant,
    limit: Duration,
    closed: Option<Arc<AtomicBool>>,
}

impl End {
    pub(crate) fn of(flags: &Flags) -> Result<Self, String> {
        let limit = Duration::from_secs(flags.number("seconds", 5)?);
        let closed = flags.truth("until-stdin-closes").then(watch_stdin);
        Ok(Self {
            begin: Instant::now(),
            limit,
            closed,
        })
    }

    pub(crate) fn reached(&self) -> bool {
        match &self.closed {
            Some(closed) => closed.load(Ordering::Relaxed),
            None => self.begin.elapsed() >= self.limit,
        }
    }
}

fn watch_stdin() -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&closed);
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        flag.store(true, Ordering::Relaxed);
    });
    closed
}

pub(crate) fn resolve(target: &str) -> Result<SocketAddr, String> {
    let mut found = target
        .to_socket_addrs()
        .map_err(|e| format!("{target}: {e}"))?;
    found.next().ok_or_else(|| format!("{target}: no address"))
}

fn request(path: &str, host: &str, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n").into_bytes()
}

struct Job {
    address: SocketAddr,
    request: Vec<u8>,
    keep_alive: bool,
}

impl Job {
    fn once(&self, kept: &mut Option<TcpStream>) -> Result<(), Failure> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.write_all(&self.request)?;
        let (code, _) = call::read_response(&mut stream)?;
        if code >= 400 {
            return Err(Failure::Status(code));
        }
        if self.keep_alive {
            *kept = Some(stream);
        }
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect_timeout(&self.address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[derive(Debug)]
enum Failure {
    Refused,
    Reset,
    Timeout,
    Status(u16),
    Other(ErrorKind),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset or closed early"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Other(kind) => write!(f, "{kind}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted => Self::Reset,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Timeout,
            other => Self::Other(other),
        }
    }
}

#[derive(Default)]
struct Counts {
    refused: usize,
    reset: usize,
    timeout: usize,
    status: usize,
    other: usize,
    micros: Vec<u64>,
}

impl Counts {
    fn add(&mut self, took: Duration, outcome: Result<(), Failure>) {
        self.micros
            .push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let Err(failure) = outcome else { return };
        match failure {
            Failure::Refused => self.refused += 1,
            Failure::Reset => self.reset += 1,
            Failure::Timeout => self.timeout += 1,
            Failure::Status(_) => self.status += 1,
            Failure::Other(_) => self.other += 1,
        }
        if self.failures() <= SHOWN {
            println!("request {}: {failure} after {took:?}", self.micros.len());
        }
    }

    fn failures(&self) -> usize {
        self.refused + self.reset + self.timeout + self.status + self.other
    }

    fn line(&mut self) -> String {
        self.micros.sort_unstable();
        let at = |percent: usize| {
            self.micros
                .get(self.micros.len() * percent / 100)
                .or(self.micros.last())
                .copied()
                .unwrap_or(0)
        };
        format!(
            "requests {} failures {} refused {} reset {} timeout {} status {} p50_us {} p99_us {} max_us {}",
            self.micros.len(),
            self.failures(),
            self.refused,
            self.reset,
            self.timeout,
            self.status,
            at(50),
            at(99),
            at(100),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_counted_by_kind() {
        let mut counts = Counts::default();
        counts.add(Duration::from_micros(5), Ok(()));
        counts.add(Duration::from_micros(9), Err(Failure::Refused));
        let line = counts.line();
        assert!(
            line.starts_with("requests 2 failures 1 refused 1 reset 0"),
            "{line}"
        );
        assert!(line.ends_with("max_us 9"), "{line}");
    }
}
