//! Points in time as the tables show them: the time since, in at most two units.

use serde_json::Value;

use super::value::text;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Seconds since the epoch of an RFC 3339 timestamp, none if it is not one.
pub(crate) fn seconds(timestamp: &str) -> Option<i64> {
    timestamp
        .parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_second)
}

/// The age of the object, `<unknown>` without a creation time.
pub(crate) fn age(object: &Value, now: i64) -> Value {
    since(text(object, "/metadata/creationTimestamp"), now).into()
}

/// The time since a timestamp in kubectl's short form, `<unknown>` if it can't be read.
pub(crate) fn since(timestamp: &str, now: i64) -> String {
    match seconds(timestamp) {
        Some(then) => duration(now - then),
        None => "<unknown>".to_owned(),
    }
}

/// A duration in seconds the way kubectl writes it: `95s`, `3m20s`, `5h10m`, `4d3h`, `2y40d`.
/// The smaller unit is left out where it no longer matters.
pub(crate) fn duration(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => pair(seconds, (MINUTE, 'm'), (1, 's')),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => pair(seconds, (HOUR, 'h'), (MINUTE, 'm')),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => pair(seconds, (DAY, 'd'), (HOUR, 'h')),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => pair(seconds, (YEAR, 'y'), (DAY, 'd')),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn pair(seconds: i64, large: (i64, char), small: (i64, char)) -> String {
    let whole = format!("{}{}", seconds / large.0, large.1);
    match seconds % large.0 / small.0 {
        0 => whole,
        rest => format!("{whole}{rest}{}", small.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_use_at_most_two_units() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (179 * MINUTE, "179m"),
            (3 * HOUR, "3h"),
            (5 * HOUR + 10 * MINUTE, "5h10m"),
            (8 * HOUR, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (4 * DAY + 3 * HOUR, "4d3h"),
            (8 * DAY, "8d"),
            (700 * DAY, "700d"),
            (2 * YEAR + 40 * DAY, "2y40d"),
            (9 * YEAR + 5 * DAY, "9y"),
        ];
        for (seconds, written) in cases {
            assert_eq!(duration(seconds), written, "{seconds} s");
        }
    }

    #[test]
    fn unreadable_time_is_unknown() {
        assert_eq!(since("", 0), "<unknown>");
        assert_eq!(since("1970-01-01T00:00:00Z", 60), "60s");
        assert_eq!(since("1970-01-01T00:00:00.999999Z", 60), "60s");
    }
}
