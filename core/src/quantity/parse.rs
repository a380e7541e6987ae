//! From text to quantity.

use super::{Form, MAX, ONE, ParseQuantityError, Quantity};

/// Suffixes of the powers of 1024, by power.
pub(super) const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Suffixes of the powers of ten, with the exponent.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// More digits than this in front of the point are beyond the largest quantity.
const DIGITS: usize = 20;

/// The suffix of a power of ten between -9 and 18 that is a multiple of three.
pub(super) fn decimal_suffix(exponent: i32) -> &'static str {
    DECIMAL
        .iter()
        .find(|(_, power)| *power == exponent)
        .map_or("", |(suffix, _)| suffix)
}

/// Parses a quantity; finer than a billionth rounds away from zero, too large caps.
pub(super) fn parse(text: &str) -> Result<Quantity, ParseQuantityError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(ParseQuantityError::NoNumber);
    }
    let (form, unit) = suffix_unit(suffix).ok_or(ParseQuantityError::Suffix)?;
    let nanos = magnitude(whole, fraction, unit);
    Ok(Quantity {
        nanos: if negative { -nanos } else { nanos },
        form,
    })
}

/// What one of the suffix stands for.
#[derive(Clone, Copy)]
enum Unit {
    /// A power of ten.
    Ten(i32),
    /// A whole factor.
    Factor(i128),
}

fn suffix_unit(suffix: &str) -> Option<(Form, Unit)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
        return Some((Form::DecimalSi, Unit::Ten(*exponent)));
    }
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        return Some((Form::BinarySi, Unit::Factor(1 << (10 * power))));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
    Some((Form::DecimalExponent, Unit::Ten(exponent)))
}

/// The number in billionths, rounded up and capped.
fn magnitude(whole: &str, fraction: &str, unit: Unit) -> i128 {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    match unit {
        Unit::Factor(factor) => scaled_by_factor(whole, fraction, factor),
        Unit::Ten(exponent) => shifted(whole, fraction, i64::from(exponent) + 9),
    }
}

/// `whole.fraction` times a whole factor, in billionths.
fn scaled_by_factor(whole: &str, fraction: &str, factor: i128) -> i128 {
    if whole.len() > DIGITS {
        return MAX;
    }
    let integer: i128 = whole.parse().unwrap_or(0);
    // Beyond 18 digits the fraction can only matter for rounding up.
    let (kept, rest) = fraction.split_at(fraction.len().min(18));
    let numerator = kept.parse::<i128>().unwrap_or(0) + i128::from(!rest.is_empty());
    let denominator = 10i128.pow(kept.len() as u32);
    let part = fraction_nanos(numerator, denominator, factor);
    match integer
        .checked_mul(factor)
        .and_then(|value| value.checked_mul(ONE))
    {
        Some(value) => (value + part).min(MAX),
        None => MAX,
    }
}

/// `numerator / denominator * factor` in billionths, rounded up, without overflow: the numerator is
/// below 10^18+1 and the factor at most 2^60, so the product is below 2^120.
fn fraction_nanos(numerator: i128, denominator: i128, factor: i128) -> i128 {
    let product = numerator * factor;
    let (whole, rest) = (product / denominator, product % denominator);
    let nanos = rest * ONE;
    whole * ONE + nanos / denominator + i128::from(nanos % denominator != 0)
}

/// The digits of `whole.fraction` with the point moved right by `places`, rounded up.
fn shifted(whole: &str, fraction: &str, places: i64) -> i128 {
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    // Zeroes to append (or digits to cut, if negative) to get billionths.
    let zeroes = places - fraction.len() as i64;
    let length = digits.len() as i64 + zeroes;
    if length <= 0 {
        return 1;
    }
    if length > 29 {
        return MAX;
    }
    let value = if zeroes >= 0 {
        digits.parse::<i128>().unwrap_or(MAX) * 10i128.pow(zeroes as u32)
    } else {
        let (kept, cut) = digits.split_at(length as usize);
        kept.parse::<i128>().unwrap_or(MAX) + i128::from(cut.bytes().any(|digit| digit != b'0'))
    };
    value.min(MAX)
}
