//! What requests ask for, from their query: pure.

use jiff::{SignedDuration, Timestamp};

/// The pairs of a query in order, decoded; repeated keys stay apart.
pub fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let pairs = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match hex() {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn truth(value: &str) -> bool {
    matches!(value, "true" | "True" | "1")
}

/// What part of a log is wanted, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// The attempt before the present one.
    pub previous: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Only what was written at or after this.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit: Option<usize>,
    /// `stdout` or `stderr` alone.
    pub stream: Option<&'static str>,
}

impl LogOptions {
    /// Reads them; `now` anchors `sinceSeconds`.
    ///
    /// # Errors
    /// A sentence that names the parameter whose value can't be read.
    pub fn parse(query: Option<&str>, now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (key, value) in pairs(query) {
            let invalid = || format!("invalid value {value:?} for {key}");
            let number = || value.parse::<usize>().map_err(|_| invalid());
            match key.as_str() {
                "follow" => options.follow = truth(&value),
                "previous" => options.previous = truth(&value),
                "timestamps" => options.timestamps = truth(&value),
                "tailLines" => options.tail = Some(number()?),
                "limitBytes" => options.limit = Some(number()?),
                "sinceSeconds" => {
                    let seconds = i64::try_from(number()?).map_err(|_| invalid())?;
                    options.since = Some(now - SignedDuration::from_secs(seconds));
                }
                "sinceTime" => options.since = Some(value.parse().map_err(|_| invalid())?),
                "stream" => options.stream = stream(&value).ok_or_else(invalid)?,
                _ => {}
            }
        }
        Ok(options)
    }
}

fn stream(value: &str) -> Option<Option<&'static str>> {
    match value {
        "" | "All" => Some(None),
        "Stdout" => Some(Some("stdout")),
        "Stderr" => Some(Some("stderr")),
        _ => None,
    }
}

/// What a command or an attachment asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// The command and its arguments; empty for attach.
    pub command: Vec<String>,
    /// The caller sends input.
    pub stdin: bool,
    /// The caller wants output.
    pub stdout: bool,
    /// The caller wants errors; never with a terminal, which has only one stream.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
    /// Ports, for port-forward over WebSocket.
    pub ports: Vec<i32>,
}

impl StreamOptions {
    /// Reads them in the kubelet's spelling and in the API's.
    pub fn parse(query: Option<&str>) -> Self {
        let mut options = Self::default();
        for (key, value) in pairs(query) {
            match key.as_str() {
                "command" => options.command.push(value),
                "input" | "stdin" => options.stdin = truth(&value),
                "output" | "stdout" => options.stdout = truth(&value),
                "error" | "stderr" => options.stderr = truth(&value),
                "tty" => options.tty = truth(&value),
                "port" | "ports" => options
                    .ports
                    .extend(value.split(',').flat_map(str::parse::<i32>)),
                _ => {}
            }
        }
        options.stderr &= !options.tty;
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_options_are_read() {
        let now = Timestamp::from_second(1000).unwrap();
        let read = |query| LogOptions::parse(Some(query), now);
        let options =
            read("follow=true&tailLines=3&timestamps=1&limitBytes=9&previous=false").unwrap();
        assert!(options.follow && options.timestamps && !options.previous);
        assert_eq!((options.tail, options.limit), (Some(3), Some(9)));
        let since = read("sinceSeconds=60").unwrap().since.unwrap();
        assert_eq!(since.as_second(), 940);
        let since = read("sinceTime=2026-01-01T00%3A00%3A00Z")
            .unwrap()
            .since
            .unwrap();
        assert_eq!(since.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(
            read("tailLines=-1").unwrap_err(),
            "invalid value \"-1\" for tailLines"
        );
    }

    #[test]
    fn commands_keep_their_words_apart() {
        let options = StreamOptions::parse(Some(
            "command=sh&command=-c&command=echo+a%26b&input=1&output=1&tty=1&error=1",
        ));
        assert_eq!(options.command, ["sh", "-c", "echo a&b"]);
        assert!(options.stdin && options.stdout && options.tty && !options.stderr);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz"), "%zz");
        assert_eq!(decode("%C3%BC"), "ü");
    }
}
