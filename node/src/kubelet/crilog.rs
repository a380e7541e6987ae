//! The runtime's log format: one line per line or part of a line, `TIME STREAM TAG TEXT`.

use jiff::Timestamp;

/// One entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When the container wrote it, in the runtime's own text.
    pub time: &'a [u8],
    /// `stdout` or `stderr`.
    pub stream: &'a [u8],
    /// A part of a line: the next entry of the stream goes on with it.
    pub partial: bool,
    /// The text, with its newline unless partial.
    pub text: &'a [u8],
}

/// Reads an entry; `line` includes its newline. `None` for what isn't one.
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    let (tags, text) = word(rest)?;
    if !matches!(stream, b"stdout" | b"stderr") {
        return None;
    }
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P".as_slice());
    let text = if partial {
        text.strip_suffix(b"\n").unwrap_or(text)
    } else {
        text
    };
    Some(Entry {
        time,
        stream,
        partial,
        text,
    })
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

impl Entry<'_> {
    /// The time; `None` when it is no RFC 3339 text.
    pub fn timestamp(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.time).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_partial_lines() {
        let whole = parse(b"2026-01-02T03:04:05.6Z stdout F hello world\n").unwrap();
        assert_eq!(
            (whole.text, whole.partial),
            (b"hello world\n".as_slice(), false)
        );
        assert_eq!(
            whole.timestamp().unwrap().to_string(),
            "2026-01-02T03:04:05.6Z"
        );
        let part = parse(b"2026-01-02T03:04:05Z stderr P abc\n").unwrap();
        assert_eq!((part.text, part.partial), (b"abc".as_slice(), true));
    }

    #[test]
    fn empty_lines_and_tags_with_more_in_them() {
        assert_eq!(parse(b"t stdout F \n").unwrap().text, b"\n");
        assert!(parse(b"t stdout P:x abc\n").unwrap().partial);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "hello\n", "t stdin F x\n", "t stdout\n"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }
}
