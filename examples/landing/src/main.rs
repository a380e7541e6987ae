//! One small static program for test images: server, echo, pause, load generator.
//!
//! Standard library only and no runtime, so that the image is small, starts in a millisecond, and a
//! failure seen by the load generator is the network's and not a framework's.

mod call;
mod echo;
mod grpc;
mod load;
mod measure;
mod pause;
mod serve;
mod signal;
mod stream;

use std::process::ExitCode;

const USAGE: &str = "usage: landing serve|grpc-health|udp-echo|udp-ask|udp-stay|pause|get|load|stream|measure-server|measure [--flag value]...
  serve    [--port 8080] [--host 0.0.0.0]       HTTP: / /env/NAME /file/PATH /delay/MS /status/CODE /health
                                                /fail /recover /exit/CODE /headers /echo /stream
                                                /call/HOST:PORT/PATH; /api/PATH asks $UPSTREAM
  grpc-health [--port 9000] [--sick FILE]       gRPC health checks; sick while FILE exists
  udp-echo [--port 5353] [--host 0.0.0.0]       sends datagrams back
  udp-ask  --target ADDR:PORT [--from PORT]     prints the answer to one datagram
  udp-stay --target ADDR:PORT [--seconds 30]    asks on one connected socket until that fails
  pause                                         waits for SIGTERM
  get      --url http://HOST[:PORT]/PATH        prints the body
  load     --target ADDR:PORT [--path /ping] [--host H] [--seconds 5] [--keep-alive true] [--until-stdin-closes true]
  stream   --target ADDR:PORT [--seconds 5] [--until-stdin-closes true]
  measure-server [--port 9000]                  the far end of the network benchmarks
  measure  --target ADDR:PORT --mode rr|crr|crr-reset|stream|first [--seconds 0.5]
                                                prints one rate; of first two times";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("landing: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let (verb, rest) = args.split_first().ok_or(USAGE)?;
    let flags = Flags::parse(rest)?;
    match verb.as_str() {
        "serve" => serve::run(&flags),
        "grpc-health" => grpc::run(&flags),
        "udp-echo" => echo::run(&flags),
        "udp-ask" => echo::ask(&flags),
        "udp-stay" => echo::stay(&flags),
        "pause" => pause::run(),
        "get" => call::run(&flags),
        "load" => load::run(&flags),
        "stream" => stream::run(&flags),
        "measure-server" => measure::serve(&flags),
        "measure" => measure::client(&flags),
        other => Err(format!("unknown verb {other:?}\n{USAGE}")),
    }
}

/// `--name value` pairs.
struct Flags(Vec<(String, String)>);

impl Flags {
    fn parse(words: &[String]) -> Result<Self, String> {
        let pair = |chunk: &[String]| match chunk {
            [name, value] => match name.strip_prefix("--") {
                Some(name) => Ok((name.to_owned(), value.clone())),
                None => Err(format!("{name:?} is no flag\n{USAGE}")),
            },
            _ => Err(format!("{chunk:?} has no value\n{USAGE}")),
        };
        words
            .chunks(2)
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn text(&self, name: &str, default: &str) -> String {
        let found = self.0.iter().rev().find(|(n, _)| n == name);
        found.map_or(default, |(_, value)| value).to_owned()
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        match self.0.iter().rev().find(|(n, _)| n == name) {
            Some((_, value)) => value
                .parse()
                .map_err(|_| format!("--{name} {value:?} is no number")),
            None => Ok(default),
        }
    }

    fn required(&self, name: &str) -> Result<String, String> {
        let found = self.0.iter().rev().find(|(n, _)| n == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or(format!("--{name} is missing\n{USAGE}"))
    }

    fn truth(&self, name: &str) -> bool {
        self.text(name, "false") == "true"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> Result<Flags, String> {
        Flags::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        let flags = flags(&["--port", "1", "--port", "2"]).unwrap();
        assert_eq!(flags.number("port", 0_u16), Ok(2));
        assert!(flags.required("target").is_err());
    }

    #[test]
    fn a_flag_without_value_is_refused() {
        assert!(flags(&["--port"]).is_err());
        assert!(flags(&["port", "1"]).is_err());
    }
}
