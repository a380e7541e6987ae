//! Numbers that are said as a count or as a percentage.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How many of `whole` a count or a percentage means, never less than none; part of one counts as
/// one if `up`, else as none.
pub fn scaled(value: &IntOrString, whole: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(count) => (*count).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent.max(0) * i64::from(whole);
            let rounded = if up {
                (hundredths + 99) / 100
            } else {
                hundredths / 100
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}
