//! The forms of texts that a schema may ask for by name, and patterns.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Whether a text has the form of that name; forms that are not known are not checked, as upstream.
pub(super) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "byte" => BASE64_STANDARD.decode(text).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid::Uuid::parse_str(text).is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "email" => text
            .split_once('@')
            .is_some_and(|(who, place)| !who.is_empty() && !place.is_empty()),
        "uri" => text.parse::<http::Uri>().is_ok() && !text.is_empty(),
        _ => true,
    }
}

/// Whether a pattern is found in the text; one that cannot be read is found nowhere.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}
