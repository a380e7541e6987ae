//! The forms of names.

use serde_json::Value;

use super::{At, Faults};

/// What a DNS label is.
pub(crate) const LABEL: &str = "a DNS label consists of at most 63 lower case letters, digits and '-', and begins and ends with a letter or digit (such as 'my-name')";
/// What a DNS subdomain is.
pub(crate) const SUBDOMAIN: &str = "a DNS subdomain consists of at most 253 lower case letters, digits, '-' and '.', and begins and ends with a letter or digit (such as 'example.com')";
/// What the name of a Service is.
pub(crate) const SERVICE: &str = "a DNS-1035 label consists of at most 63 lower case letters, digits and '-', begins with a letter and ends with a letter or digit (such as 'my-name')";
/// What a qualified name is.
pub(crate) const QUALIFIED: &str = "a qualified name consists of at most 63 letters, digits, '-', '_' and '.', begins and ends with a letter or digit, and may have a DNS subdomain and '/' in front (such as 'example.com/my-name')";

/// What can stand as one part of a path.
pub(crate) const SEGMENT: &str = "a name may not be '.' or '..' and may not contain '/' or '%'";

/// Whether it can stand as one part of a path.
pub(crate) fn is_path_segment(text: &str) -> bool {
    !matches!(text, "." | "..") && !text.contains(['/', '%'])
}

/// At most 63 of `a-z0-9-`, alphanumeric at both ends (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

/// At most 253 characters of DNS parts joined by dots.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(text: &str) -> bool {
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(end) && text.ends_with(end) && text.chars().all(|c| end(c) || c == '-')
}

/// `[prefix/]name`, as keys of labels have it.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(text),
    }
}

/// Empty, or a name part.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

fn is_name_part(text: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    let middle = |c: char| end(c) || matches!(c, '-' | '_' | '.');
    text.len() <= 63 && text.starts_with(end) && text.ends_with(end) && text.chars().all(middle)
}

/// The name of a port: at most 15 of `a-z0-9-` with a letter, no `--`, no `-` at the ends (RFC 6335).
pub(crate) fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_dns_part(text)
        && !text.contains("--")
        && text.chars().any(|c| c.is_ascii_lowercase())
}

fn named(at: &At<'_>, fits: fn(&str) -> bool, rule: &str, faults: &mut Faults) {
    if !at.text().is_empty() && !fits(at.text()) {
        faults.invalid(at, rule);
    }
}

/// A DNS label, if there is a text.
pub(crate) fn dns_label(at: &At<'_>, faults: &mut Faults) {
    named(at, is_dns_label, LABEL, faults);
}

/// A DNS subdomain, if there is a text.
pub(crate) fn dns_subdomain(at: &At<'_>, faults: &mut Faults) {
    named(at, is_dns_subdomain, SUBDOMAIN, faults);
}

/// A DNS label that begins with a letter (RFC 1035), as names of Services are.
pub(crate) fn is_service_label(text: &str) -> bool {
    is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// A DNS label that begins with a letter, as Services have it.
pub(crate) fn service_label(at: &At<'_>, faults: &mut Faults) {
    named(at, is_service_label, SERVICE, faults);
}

/// A qualified name that stands at `at`, as a value or as a key.
pub(crate) fn qualified_name(at: &At<'_>, name: &str, faults: &mut Faults) {
    if !is_qualified_name(name) {
        faults.invalid_value(at, &Value::from(name), QUALIFIED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_forms() {
        assert!(is_dns_label("a") && is_dns_label("a-1") && is_dns_label(&"a".repeat(63)));
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(is_dns_subdomain("a.b-c.1") && is_dns_subdomain(&"a".repeat(253)));
        for bad in ["", "a..b", "a.-b", "ä", &"a".repeat(254)] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
        assert!(is_service_label("a-1") && !is_service_label("1-a"));
        assert!(is_qualified_name("a_B.c") && is_qualified_name("example.com/Name"));
        for bad in ["", "/a", "a/", "a/b/c", "Ex/a", "_a", &"a".repeat(64)] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
        assert!(is_label_value("") && is_label_value("A.b_1") && !is_label_value("a b"));
        assert!(is_port_name("http-2") && !is_port_name("80") && !is_port_name("a--b"));
        assert!(!is_port_name("sixteencharacter"));
    }
}
