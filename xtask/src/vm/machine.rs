//! The emulated machine: started, listened to, ended by its handle whatever happens.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The line after which the tests speak.
pub(super) const BEGIN: &str = "naru-vm: begin";
/// Begins the line that carries the test program's exit code.
pub(super) const END: &str = "naru-vm: exit ";

/// What to boot, and for how long at most.
pub(super) struct Machine {
    pub(super) image: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) timeout: Duration,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The test program ended with this code.
    Exit(i32),
    /// The machine stopped without a word about the test program.
    Silent,
    /// The time was up.
    TimedOut,
}

/// Ends the emulator when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Machine {
    /// Boots, and gives each line of the test program to `line`. What the machine said before is
    /// printed only when the test program never spoke.
    pub(super) fn run(&self, line: impl FnMut(&str)) -> Result<End> {
        let mut running = Running(self.command().spawn().context("qemu-system-x86_64")?);
        let serial = running.0.stdout.take().context("the serial line")?;
        Ok(listen(&read_lines(serial), self.timeout, line))
    }

    fn command(&self) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-m", "2048", "-smp", "2", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-nic", "none"])
            .args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"])
            .arg("-kernel")
            .arg(&self.image)
            .arg("-initrd")
            .arg(&self.initrd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        qemu
    }
}

/// Reads the serial line in a thread of its own, which ends with the emulator.
fn read_lines(serial: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let pieces = BufReader::new(serial).split(b'\n').map_while(Result::ok);
        for piece in pieces {
            let text = String::from_utf8_lossy(&piece).trim_end().to_owned();
            if send.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

fn listen(lines: &Receiver<String>, timeout: Duration, mut line: impl FnMut(&str)) -> End {
    let deadline = Instant::now() + timeout;
    let mut before = Some(Vec::new());
    let end = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let text = match lines.recv_timeout(left) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => break End::TimedOut,
            Err(RecvTimeoutError::Disconnected) => break End::Silent,
        };
        if let Some(code) = text.strip_prefix(END) {
            break code.parse().map_or(End::Silent, End::Exit);
        }
        match &mut before {
            Some(_) if text == BEGIN => before = None,
            Some(said) => said.push(text),
            None => line(&text),
        }
    };
    for text in before.into_iter().flatten() {
        eprintln!("{text}");
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(said: &'static str) -> (End, Vec<String>) {
        let mut heard = Vec::new();
        let lines = read_lines(said.as_bytes());
        let end = listen(&lines, Duration::from_secs(10), |l| {
            heard.push(l.to_owned())
        });
        (end, heard)
    }

    #[test]
    fn only_the_test_program_is_heard_and_its_code_is_kept() {
        let (end, heard) =
            hear("SeaBIOS\r\nnaru-vm: begin\r\ntest a ... ok\r\nnaru-vm: exit 101\r\nx");
        assert_eq!(end, End::Exit(101));
        assert_eq!(heard, ["test a ... ok"]);
    }

    #[test]
    fn a_machine_that_stops_early_is_no_success() {
        assert_eq!(hear("naru-vm: begin\ntest a ... ok\n").0, End::Silent);
        assert_eq!(hear("Kernel panic\n").0, End::Silent);
    }

    #[test]
    fn a_machine_that_says_nothing_runs_out_of_time() {
        let (_keep, lines) = mpsc::channel();
        assert_eq!(listen(&lines, Duration::ZERO, |_| ()), End::TimedOut);
    }
}
