//! Answers as YAML, for clients that would rather have it (`Accept: application/yaml`).
//!
//! Documents of up to [`LONG`] bytes are written in block style. Longer lists are sent as the JSON that
//! they are, which is YAML, too: their text is never held as a whole. Watches are not to be had.

use std::fmt::Write as _;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use super::body::{Reply, full, is_document};
use super::pieces::Pieces;

/// Bytes of JSON that are written anew.
const LONG: usize = 4 << 20;

/// The same answer as YAML, if it is a JSON document.
pub(super) async fn written(reply: Reply) -> Reply {
    let json = HeaderValue::from_static("application/json");
    if !is_document(&reply) || reply.headers().get(CONTENT_TYPE) != Some(&json) {
        return reply;
    }
    let (mut head, body) = reply.into_parts();
    let yaml = HeaderValue::from_static("application/yaml");
    head.headers.insert(CONTENT_TYPE, yaml);
    let pieces = Pieces::begin(body, LONG).await;
    let body = match pieces.all() {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => {
                head.headers.remove(CONTENT_LENGTH);
                full(block(&value))
            }
            Err(_) => full(text),
        },
        Err(pieces) => pieces.into_body(),
    };
    Reply::from_parts(head, body)
}

/// A value in block style.
fn block(value: &Value) -> String {
    let mut out = String::new();
    put(value, 0, &mut out);
    if !is_nested(value) {
        out.push('\n');
    }
    out
}

/// Whether a value is written on lines of its own.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Appends a value, whose first line begins where the text ends and whose others are indented.
fn put(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (number, (key, value)) in members.iter().enumerate() {
                if number > 0 {
                    pad(indent, out);
                }
                text(key, out);
                out.push(':');
                match value {
                    // As Kubernetes writes it: a list stands no further in than its name.
                    Value::Array(items) if !items.is_empty() => below(value, indent, out),
                    _ if is_nested(value) => below(value, indent + 2, out),
                    _ => beside(value, out),
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, value) in items.iter().enumerate() {
                if number > 0 {
                    pad(indent, out);
                }
                out.push('-');
                if is_nested(value) {
                    out.push(' ');
                    put(value, indent + 2, out);
                } else {
                    beside(value, out);
                }
            }
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(string) => text(string, out),
        other => drop(write!(out, "{other}")),
    }
}

fn below(value: &Value, indent: usize, out: &mut String) {
    out.push('\n');
    pad(indent, out);
    put(value, indent, out);
}

fn beside(value: &Value, out: &mut String) {
    out.push(' ');
    put(value, 0, out);
    out.push('\n');
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A text as it is where nobody takes it for something else, or quoted as in JSON.
fn text(string: &str, out: &mut String) {
    if is_plain(string) {
        out.push_str(string);
        return;
    }
    for letter in Value::from(string).to_string().chars() {
        match letter {
            // What YAML does not count as printable, and its further ends of lines.
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => drop(write!(out, "\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
}

fn is_plain(string: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    string.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && string
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "_./-".contains(letter))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(string))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::decode;

    #[test]
    fn block_style_is_that_of_kubernetes() {
        let object = json!({"apiVersion": "v1", "items": [{"a": 1, "b": ["x", [true, null]]}, {}],
            "metadata": {"labels": {"a.b/c": "yes"}, "none": [], "time": "2026-01-01T00:00:00Z"}});
        let expected = "apiVersion: v1
items:
- a: 1
  b:
  - x
  - - true
    - null
- {}
metadata:
  labels:
    a.b/c: \"yes\"
  none: []
  time: \"2026-01-01T00:00:00Z\"
";
        assert_eq!(block(&object), expected);
    }

    #[test]
    fn whatever_is_written_is_read_as_the_same() {
        let texts = [
            "",
            " ",
            "a b",
            "1",
            "1e3",
            "0x10",
            "0o7",
            "1_000",
            "12:30:45",
            "2026-01-01",
            "~",
            "null",
            "Null",
            "TRUE",
            "off",
            "=",
            "<<",
            "- a",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "'",
            "\"",
            "\\",
            "a\nb\n",
            "\n",
            "\ttab",
            "a\r\nb",
            "\u{0}",
            "\u{1b}",
            "\u{7f}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{feff}",
            "\u{ffff}",
            "ä€😀",
            "?",
            "? a",
            "---",
            "...",
            "[",
            "{",
            "-",
            ".5",
            ".nan",
            "+1",
            "a,b",
            "a]",
        ];
        for text in texts {
            let object = json!({text: text, "list": [text, [text], {text: [{}]}], "deep": {"x": {text: [[], text]}}});
            let yaml = block(&object);
            let read = decode::object(yaml.as_bytes(), "application/yaml");
            assert_eq!(read.unwrap(), object, "{text:?}:\n{yaml}");
        }
        let numbers =
            json!({"a": [0, -1, 1.5, 9_007_199_254_740_993_u64, 1e-7], "b": null, "c": false});
        let read = decode::object(block(&numbers).as_bytes(), "application/yaml");
        assert_eq!(read.unwrap(), numbers);
    }
}
