//! How long a request may take, and how much of that it may wait.

use std::time::Duration;

use crate::api::request::Query;
use crate::api::status::{Result, Status};

/// What a request gets that asks for no time of its own, and the most that one may ask for.
pub(super) const REQUEST: Duration = Duration::from_secs(60);
/// No request waits longer.
const WAIT: Duration = Duration::from_secs(60);

/// The time of a request: that in its query, or [`REQUEST`].
///
/// # Errors
/// 400 when what it asks for is no time.
pub(super) fn of(query: &Query) -> Result<Duration> {
    let Some(asked) = query.get("timeout") else {
        return Ok(REQUEST);
    };
    let time = duration(asked);
    let time = time.ok_or_else(|| {
        let why = format!("{asked:?} is no time such as 30s or 1m30s");
        Status::bad_request(format!(
            "invalid timeout specified in the request URL - {why}"
        ))
    })?;
    Ok(if time.is_zero() {
        REQUEST
    } else {
        time.min(REQUEST)
    })
}

/// How long a request of that time may wait for its turn: a quarter of it.
pub(super) fn wait(time: Duration) -> Duration {
    (time / 4).min(WAIT)
}

/// A time as Kubernetes writes it: numbers with units, such as `1m30s` or `1.5h`; none if it is not
/// one.
pub fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_units() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("2h0m", 7_200_000),
            ("0s", 0),
        ] {
            let time = Duration::from_millis(milliseconds);
            assert_eq!(duration(text), Some(time), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "5s5",
            "..s",
            "1e3s",
            "99999999999999999999h",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_waits_a_quarter_of_its_time() {
        let of = |query: &str| of(&Query::new(query));
        assert_eq!(of("").unwrap(), REQUEST);
        assert_eq!(of("timeout=0s").unwrap(), REQUEST);
        assert_eq!(of("timeout=8s").unwrap(), Duration::from_secs(8));
        assert_eq!(of("timeout=8h").unwrap(), REQUEST);
        assert_eq!(of("timeout=x").unwrap_err().code, 400);
        assert_eq!(wait(Duration::from_secs(8)), Duration::from_secs(2));
        assert_eq!(wait(REQUEST), Duration::from_secs(15));
    }
}
