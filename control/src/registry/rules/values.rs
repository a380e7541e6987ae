//! Presence, ranges, choices.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::names::is_port_name;
use super::{At, Faults};

/// Something other than empty stands there; returns whether it does.
pub(crate) fn required(at: &At<'_>, faults: &mut Faults) -> bool {
    let there = !at.is_empty();
    if !there {
        faults.required(at, "");
    }
    there
}

/// One of these texts, if there is any.
pub(crate) fn one_of(at: &At<'_>, supported: &[&str], faults: &mut Faults) {
    if at.is_set() && !supported.contains(&at.text()) {
        faults.not_supported(at, supported);
    }
}

/// One of these texts.
pub(crate) fn required_one_of(at: &At<'_>, supported: &[&str], faults: &mut Faults) {
    if required(at, faults) {
        one_of(at, supported, faults);
    }
}

/// A number in the range, if there is any.
pub(crate) fn range(at: &At<'_>, range: RangeInclusive<i64>, faults: &mut Faults) {
    if at.int().is_some_and(|number| !range.contains(&number)) {
        let (least, most) = range.into_inner();
        faults.invalid(
            at,
            &format!("must be between {least} and {most}, inclusive"),
        );
    }
}

/// A number that is not below zero, if there is any.
pub(crate) fn non_negative(at: &At<'_>, faults: &mut Faults) {
    if at.int().is_some_and(i64::is_negative) {
        faults.invalid(at, "must be greater than or equal to 0");
    }
}

/// A port number, if there is any.
pub(crate) fn port_number(at: &At<'_>, faults: &mut Faults) {
    range(at, 1..=65535, faults);
}

/// A port by number or by name, if there is any.
pub(crate) fn port_or_name(at: &At<'_>, faults: &mut Faults) {
    match at.value() {
        Value::String(name) if !is_port_name(name) => {
            faults.invalid(at, "a port's name consists of at most 15 lower case letters, digits and '-', with a letter among them (such as 'http')");
        }
        _ => port_number(at, faults),
    }
}

/// A count that is not negative or a percentage, if there is any.
pub(crate) fn fraction_or_count(at: &At<'_>, faults: &mut Faults) {
    let Value::String(text) = at.value() else {
        return non_negative(at, faults);
    };
    let digits = text.strip_suffix('%').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        faults.invalid(
            at,
            "a percentage consists of digits and '%' (such as '25%')",
        );
    }
}

/// An IP address, if there is a text.
pub(crate) fn ip(at: &At<'_>, faults: &mut Faults) {
    if !at.text().is_empty() && at.text().parse::<IpAddr>().is_err() {
        faults.invalid(
            at,
            "must be a valid IP address (such as 10.9.8.7 or 2001:db8::ffff)",
        );
    }
}

/// A range of addresses, if there is a text.
pub(crate) fn cidr(at: &At<'_>, faults: &mut Faults) {
    if !at.text().is_empty() && !is_cidr(at.text()) {
        faults.invalid(
            at,
            "must be a valid CIDR value (such as 10.9.8.0/24 or 2001:db8::/64)",
        );
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let plain = length == "0" || !length.starts_with(['0', '+']);
    plain && length.parse::<u8>().is_ok_and(|length| length <= longest)
}

/// The value is the stored one.
pub(crate) fn immutable(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let same = new.value() == old.value() || (new.is_empty() && old.is_empty());
    if !same {
        faults.invalid(new, "field is immutable");
    }
}

/// No two places hold the same text.
pub(crate) fn unique<'a>(places: impl Iterator<Item = At<'a>>, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for at in places {
        if !at.text().is_empty() && !seen.insert(at.text()) {
            faults.duplicate(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faulty(value: Value, rule: fn(&At<'_>, &mut Faults)) -> bool {
        let mut faults = Faults::default();
        rule(&At::root(&value), &mut faults);
        !faults.into_list().is_empty()
    }

    #[test]
    fn ports_and_fractions_have_ranges() {
        for good in [json!(1), json!(65535), json!("http"), json!(null)] {
            assert!(!faulty(good.clone(), port_or_name), "{good}");
        }
        for bad in [json!(0), json!(65536), json!("80"), json!("")] {
            assert!(faulty(bad.clone(), port_or_name), "{bad}");
        }
        for good in [json!(0), json!("0%"), json!("150%")] {
            assert!(!faulty(good.clone(), fraction_or_count), "{good}");
        }
        for bad in [
            json!(-1),
            json!("%"),
            json!("10"),
            json!("-1%"),
            json!("1.5%"),
        ] {
            assert!(faulty(bad.clone(), fraction_or_count), "{bad}");
        }
        assert!(faulty(json!("10.0.0"), ip) && !faulty(json!("fd00::1"), ip));
    }

    #[test]
    fn absent_and_empty_are_the_same_to_immutability() {
        let mut faults = Faults::default();
        let (new, old) = (json!({"a": {}}), json!({}));
        immutable(
            &At::root(&new).get("a"),
            &At::root(&old).get("a"),
            &mut faults,
        );
        assert!(faults.into_list().is_empty());
    }
}
