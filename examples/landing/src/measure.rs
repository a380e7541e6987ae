//! The two ends of the network benchmarks: request/response, connect/request/close, stream, and how long
//! each connect takes.
//!
//! One connection at a time and no threads, so that both ends can be pinned to one core: two ends on
//! two cores measure how fast an idle core wakes, not the network.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::Flags;

/// First byte of a connection: echo every byte.
const ECHO: u8 = b'e';
/// First byte of a connection: answer it and close.
const ONCE: u8 = b'o';
/// First byte of a connection: swallow everything.
const SINK: u8 = b's';

/// Bytes of one write of the stream.
const BLOCK: usize = 128 * 1024;

/// Congestion control of both ends, whatever the machine's default: the one that every kernel has.
const CONGESTION: &[u8] = b"reno";

/// Serves measurements until it is killed.
pub(crate) fn serve(flags: &Flags) -> Result<(), String> {
    let port: u16 = flags.number("port", 9000)?;
    let listener =
        TcpListener::bind(("0.0.0.0", port)).map_err(|e| format!("listening on {port}: {e}"))?;
    same_congestion(&listener).map_err(|e| format!("congestion control: {e}"))?;
    let mut block = vec![0; BLOCK];
    for stream in listener.incoming().flatten() {
        // A client that resets its connection ends it, not the server.
        let _ = answer(stream, &mut block);
    }
    Ok(())
}

fn answer(mut stream: TcpStream, block: &mut [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 1];
    stream.read_exact(&mut first)?;
    match first[0] {
        SINK => while stream.read(block)? > 0 {},
        ONCE => stream.write_all(&first)?,
        _ => loop {
            stream.write_all(&first)?;
            stream.read_exact(&mut first)?;
        },
    }
    Ok(())
}

/// Runs one measurement and prints its rate: exchanges, connections or bytes a second; in the mode
/// `first` two times in microseconds.
pub(crate) fn client(flags: &Flags) -> Result<(), String> {
    let target: SocketAddr = flags
        .required("target")?
        .parse()
        .map_err(|e| format!("--target: {e}"))?;
    let seconds: f64 = flags.number("seconds", 0.5)?;
    let length = Duration::try_from_secs_f64(seconds).map_err(|e| format!("--seconds: {e}"))?;
    let mode = flags.text("mode", "rr");
    if mode == "first" {
        let times = firsts(target, Instant::now() + length);
        let times = times.map_err(|e| format!("{mode} to {target}: {e}"))?;
        println!("{} {}", of_hundred(&times, 50), of_hundred(&times, 99));
        return Ok(());
    }
    let run = match mode.as_str() {
        "rr" => exchanges,
        "crr" => connections,
        "crr-reset" => resets,
        "stream" => stream,
        other => {
            return Err(format!(
                "--mode {other:?}: rr, crr, crr-reset, stream or first"
            ));
        }
    };
    let start = Instant::now();
    let done = run(target, start + length).map_err(|e| format!("{mode} to {target}: {e}"))?;
    println!("{}", done as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

fn exchanges(target: SocketAddr, until: Instant) -> std::io::Result<u64> {
    let mut stream = connect(target)?;
    let mut count = 0;
    while Instant::now() < until {
        exchange(&mut stream, ECHO)?;
        count += 1;
    }
    Ok(count)
}

fn connections(target: SocketAddr, until: Instant) -> std::io::Result<u64> {
    let mut count = 0;
    while Instant::now() < until {
        let mut stream = connect(target)?;
        exchange(&mut stream, ONCE)?;
        // The server closes first, as it does after an answer with `Connection: close`. TIME_WAIT is
        // with it then, where it keeps no port of the client's from being used again.
        expect_end(&mut stream)?;
        count += 1;
    }
    Ok(count)
}

/// Connections that leave nothing behind at either end.
fn resets(target: SocketAddr, until: Instant) -> std::io::Result<u64> {
    let mut count = 0;
    while Instant::now() < until {
        let mut stream = connect(target)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        exchange(&mut stream, ECHO)?;
        count += 1;
    }
    Ok(count)
}

/// What each of many connects took, in microseconds, sorted: the first packet of a flow and its answer.
/// The connections leave nothing behind.
fn firsts(target: SocketAddr, until: Instant) -> std::io::Result<Vec<f64>> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        same_congestion(&socket)?;
        // A blocking connect: no poll and no second call beside it.
        let begin = Instant::now();
        socket.connect(&target.into())?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        socket.set_linger(Some(Duration::ZERO))?;
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times)
}

/// What so many of a hundred of these sorted numbers are not above; 0 of none.
fn of_hundred(sorted: &[f64], share: usize) -> f64 {
    let last = (sorted.len() * share).div_ceil(100).saturating_sub(1);
    sorted.get(last).copied().unwrap_or(0.0)
}

fn stream(target: SocketAddr, until: Instant) -> std::io::Result<u64> {
    let mut stream = connect(target)?;
    stream.write_all(&[SINK])?;
    let block = vec![0; BLOCK];
    let mut bytes = 0;
    while Instant::now() < until {
        bytes += stream.write(&block)? as u64;
    }
    Ok(bytes)
}

fn connect(target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    same_congestion(&socket)?;
    socket.connect_timeout(&target.into(), Duration::from_secs(5))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Accepted sockets inherit it from their listener.
fn same_congestion<S: AsFd>(socket: &S) -> std::io::Result<()> {
    SockRef::from(socket).set_tcp_congestion(CONGESTION)
}

fn exchange(stream: &mut TcpStream, word: u8) -> std::io::Result<()> {
    let mut answer = [0; 1];
    stream.write_all(&[word])?;
    stream.read_exact(&mut answer)?;
    if answer != [word] {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(())
}

fn expect_end(stream: &mut TcpStream) -> std::io::Result<()> {
    match stream.read(&mut [0; 1])? {
        0 => Ok(()),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_hundred_are_counted_from_below() {
        let numbers: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(of_hundred(&numbers, 50), 100.0);
        assert_eq!(of_hundred(&numbers, 99), 198.0);
        assert_eq!(of_hundred(&numbers[..1], 99), 1.0);
        assert_eq!(of_hundred(&[], 50), 0.0);
    }

    #[test]
    fn both_ends_understand_each_other_in_every_mode() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let target = listener.local_addr().expect("address");
        let server = std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let mut first = [0; 1];
                if matches!(connection.peek(&mut first), Ok(0)) {
                    break;
                }
                let _ = answer(connection, &mut vec![0; BLOCK]);
            }
        });
        for run in [exchanges, connections, resets, stream] {
            let until = Instant::now() + Duration::from_millis(20);
            assert!(run(target, until).expect("measurement") > 0);
        }
        let until = Instant::now() + Duration::from_millis(20);
        let times = firsts(target, until).expect("measurement");
        assert!(times[0] > 0.0 && times.is_sorted());
        drop(TcpStream::connect(target).expect("last connection"));
        server.join().expect("server");
    }
}
