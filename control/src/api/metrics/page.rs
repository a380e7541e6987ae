//! A page in the text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

/// The media type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample: names and values.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

/// A page that grows.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// What is written.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// The head of a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, labels: &Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"");
            self.escaped(text);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample without labels.
    pub(super) fn alone(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_and_escaped() {
        let mut page = Page::default();
        page.alone("up", "gauge", "Whether.", 1);
        page.sample("a_total", &[("x", "1"), ("y", "a\"b\\c\nd")], 2.5);
        assert_eq!(
            page.into_text(),
            "# HELP up Whether.\n# TYPE up gauge\nup 1\n\
             a_total{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 2.5\n"
        );
    }
}
