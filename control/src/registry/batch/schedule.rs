//! The form of a cron schedule: five fields, or one of the names for common ones.

/// Names, days and months that may stand for numbers.
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Schedules that have a name.
const NAMED: [&str; 7] = [
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];

/// What is wrong with a schedule.
pub(super) fn fault(schedule: &str) -> Option<String> {
    if NAMED.contains(&schedule) || schedule.starts_with("@every ") {
        return None;
    }
    let fields: Vec<_> = schedule.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        let count = fields.len();
        return Some(format!(
            "expected exactly 5 fields, found {count}: {schedule:?}"
        ));
    };
    let fields = [
        (minute, 0, 59, &[][..]),
        (hour, 0, 23, &[]),
        (day, 1, 31, &[]),
        (month, 1, 12, &MONTHS),
        (weekday, 0, 7, &DAYS),
    ];
    let mut bad = fields.iter().filter(|(text, low, high, names)| {
        !text
            .split(',')
            .all(|item| is_item(item, *low, *high, names))
    });
    bad.next()
        .map(|(text, low, high, _)| format!("{text:?} is not within {low} and {high}"))
}

/// `*`, `a`, `a-b`, each with `/step`.
fn is_item(item: &str, low: u32, high: u32, names: &[&str]) -> bool {
    let (span, step) = item.split_once('/').unwrap_or((item, "1"));
    if step.parse::<u32>().is_ok_and(|step| step == 0) || step.parse::<u32>().is_err() {
        return false;
    }
    if matches!(span, "*" | "?") {
        return true;
    }
    let number = |text: &str| {
        let name = text.to_ascii_lowercase();
        let by_name = names.iter().position(|have| *have == name);
        let number = by_name.map(|index| index as u32 + low.min(1));
        number
            .or_else(|| text.parse().ok())
            .filter(|number| (low..=high).contains(number))
    };
    match span.split_once('-') {
        Some((from, to)) => match (number(from), number(to)) {
            (Some(from), Some(to)) => from <= to,
            _ => false,
        },
        None => number(span).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_five_fields_in_their_ranges() {
        for good in [
            "* * * * *",
            "*/5 0-6,12 1 jan-mar MON",
            "@daily",
            "0 0 31 12 7",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
        ] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
