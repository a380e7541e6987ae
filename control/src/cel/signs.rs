//! Signs before a value, as the parser takes them.
//!
//! It reads an even number of `!` or `-` as one (cel 0.13: `!!true` is false). Together they are none, so
//! they are made blanks before it sees them, which keeps every place where it was.

use std::borrow::Cow;

/// The text without the signs that cancel each other.
pub(super) fn without_pairs(text: &str) -> Cow<'_, str> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        at: 0,
        after_value: false,
    };
    let mut blanks = Vec::new();
    while reader.at < reader.bytes.len() {
        reader.step(&mut blanks);
    }
    if blanks.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    for at in blanks {
        bytes[at] = b' ';
    }
    // Only letters of ASCII were replaced.
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Reads a text token by token, as far as signs need it.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether a value ends here, so that a minus takes something from it.
    after_value: bool,
}

impl Reader<'_> {
    fn next(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn step(&mut self, blanks: &mut Vec<usize>) {
        let rest = &self.bytes[self.at..];
        match rest {
            [b'/', b'/', ..] => self.skip_while(|byte| byte != b'\n'),
            [b'"' | b'\'', ..] => self.text(false),
            [sign @ (b'!' | b'-'), ..] if !rest.starts_with(b"!=") => self.signs(*sign, blanks),
            [byte, ..] if is_of_word(*byte) => self.word(),
            [byte, ..] => {
                if !byte.is_ascii_whitespace() {
                    self.after_value = matches!(byte, b')' | b']' | b'}');
                }
                self.at += 1;
            }
            [] => {}
        }
    }

    fn skip_while(&mut self, skipped: impl Fn(u8) -> bool) {
        while self.next().is_some_and(&skipped) {
            self.at += 1;
        }
    }

    /// A name, a number, or what stands before a text.
    fn word(&mut self) {
        let start = self.at;
        self.skip_while(is_of_word);
        let word = &self.bytes[start..self.at];
        let is_prefix = word.len() <= 2 && word.iter().all(|byte| b"rRbB".contains(byte));
        if is_prefix && matches!(self.next(), Some(b'"' | b'\'')) {
            return self.text(word.iter().any(|byte| b"rR".contains(byte)));
        }
        self.after_value = word != b"in";
    }

    /// A text in quotes, three of them or one; a raw one knows no escapes.
    fn text(&mut self, is_raw: bool) {
        let quote = self.bytes[self.at];
        let three = [quote; 3];
        let end: &[u8] = match self.bytes[self.at..].starts_with(&three) {
            true => &three,
            false => &three[..1],
        };
        self.at += end.len();
        while self.at < self.bytes.len() && !self.bytes[self.at..].starts_with(end) {
            let is_escape = self.bytes[self.at] == b'\\' && !is_raw;
            self.at += if is_escape { 2 } else { 1 };
        }
        self.at = self.bytes.len().min(self.at + end.len());
        self.after_value = true;
    }

    /// A run of one sign, blanks between them included.
    fn signs(&mut self, sign: u8, blanks: &mut Vec<usize>) {
        let mut found = Vec::new();
        while self.next() == Some(sign) && !self.bytes[self.at..].starts_with(b"!=") {
            found.push(self.at);
            self.at += 1;
            self.skip_while(|byte| byte.is_ascii_whitespace());
        }
        // The first one after a value stands between two.
        let between = usize::from(sign == b'-' && self.after_value);
        let before = &found[between..];
        if before.len() % 2 == 0 {
            blanks.extend(before);
        }
        self.after_value = false;
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_go_and_everything_else_stays_in_its_place() {
        let cases = [
            ("!!a", "  a"),
            ("! ! a", "    a"),
            ("!!!a", "!!!a"),
            ("!a != !!b", "!a !=   b"),
            ("--a", "  a"),
            ("a--b", "a--b"),
            ("a - - -b", "a -    b"),
            ("a in --b", "a in   b"),
            ("f(x)---b", "f(x)-  b"),
            ("[--1]", "[  1]"),
            ("1e-5 --x", "1e-5 --x"),
            ("'--!!' + \"\\\"--\"", "'--!!' + \"\\\"--\""),
            ("r'\\' == --x", "r'\\' ==   x"),
            ("'''it's --''' == !!x", "'''it's --''' ==   x"),
            ("a // --!!\n&& !!b", "a // --!!\n&&   b"),
            ("'ü' == --x", "'ü' ==   x"),
            ("'open --", "'open --"),
            ("--", "  "),
        ];
        for (text, wanted) in cases {
            assert_eq!(without_pairs(text), wanted, "{text}");
            assert_eq!(wanted.len(), text.len(), "{text}");
        }
    }
}
