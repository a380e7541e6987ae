//! Small things that every printed text needs: columns, names, numbers, colours. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use naru_node_api::flows::Peer;
use owo_colors::{OwoColorize as _, Style};

/// Colours, when the output is a terminal and the user has not declined them (NO_COLOR).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// As standard output wants it.
    pub(crate) fn for_stdout() -> Self {
        use std::io::IsTerminal as _;
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_on: std::io::stdout().is_terminal() && !declined,
        }
    }

    /// Good news.
    pub(crate) fn good(self, text: &str) -> String {
        self.styled(text, Style::new().green())
    }

    /// What the reader must see.
    pub(crate) fn bad(self, text: &str) -> String {
        self.styled(text, Style::new().red().bold())
    }

    /// Headings.
    pub(crate) fn strong(self, text: &str) -> String {
        self.styled(text, Style::new().bold())
    }

    fn styled(self, text: &str, style: Style) -> String {
        match self.is_on {
            true => text.style(style).to_string(),
            false => text.to_owned(),
        }
    }

    #[cfg(test)]
    pub(crate) fn always() -> Self {
        Self { is_on: true }
    }
}

/// Rows as columns, two spaces apart, without trailing spaces; each row ends with a newline.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// An error and its causes in one line; a cause that the text before it repeats is left out.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        // A refusal of the API in its own words; as a cause it would come again with all its fields.
        let refusal = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => Some(first_line(&status.message)),
            _ => None,
        };
        let is_last = refusal.is_some();
        let text = refusal.unwrap_or_else(|| first_line(&cause.to_string()));
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        if is_last {
            break;
        }
    }
    line
}

/// A text's first line, trimmed.
pub(crate) fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or("").trim().to_owned()
}

/// One end of a flow: a pod by its name, everything else by what it is and its address.
pub(crate) fn peer(peer: Option<&Peer>) -> String {
    let Some(peer) = peer else {
        return "?".to_owned();
    };
    let who = match (
        peer.kind.as_str(),
        peer.pod.is_empty(),
        peer.node.is_empty(),
    ) {
        (_, false, _) => format!("{}/{}", peer.namespace, peer.pod),
        ("ingress" | "dns", ..) => format!("{}({})", peer.kind, peer.ip),
        (_, _, false) => format!("node/{}({})", peer.node, peer.ip),
        _ if peer.ip.contains(':') => format!("[{}]", peer.ip),
        _ => peer.ip.clone(),
    };
    match peer.port {
        0 => who,
        port => format!("{who}:{port}"),
    }
}

/// A number in at most five characters: 999, 1.2k, 34M.
pub(crate) fn count(number: u64) -> String {
    const UNITS: [(u64, char); 4] = [
        (1_000_000_000_000, 'T'),
        (1_000_000_000, 'G'),
        (1_000_000, 'M'),
        (1_000, 'k'),
    ];
    match UNITS.iter().find(|(size, _)| number >= *size) {
        None => number.to_string(),
        Some((size, unit)) if number < size * 10 => {
            format!("{}.{}{unit}", number / size, number % size * 10 / size)
        }
        Some((size, unit)) => format!("{}{unit}", number / size),
    }
}

/// Time of day with milliseconds, in the given zone.
pub(crate) fn clock(nanoseconds: u64, zone: &TimeZone) -> String {
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => time
            .to_zoned(zone.clone())
            .strftime("%H:%M:%S%.3f")
            .to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// RFC 3339 in UTC, for programs.
pub(crate) fn timestamp(nanoseconds: u64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map(|time| time.to_string())
        .unwrap_or_default()
}

/// How long ago, in one unit: 5s, 3m, 2h, 4d.
pub(crate) fn ago(nanoseconds: u64, now: Timestamp) -> String {
    let seconds = now
        .as_nanosecond()
        .saturating_sub(i128::from(nanoseconds))
        .max(0)
        / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: &str, ip: &str, port: u32) -> Peer {
        Peer {
            kind: kind.into(),
            ip: ip.into(),
            port,
            ..Peer::default()
        }
    }

    #[test]
    fn peers_have_names_where_there_are_any() {
        let pod = Peer {
            namespace: "shop".into(),
            pod: "web-1".into(),
            ..named("pod", "10.244.0.5", 80)
        };
        assert_eq!(peer(Some(&pod)), "shop/web-1:80");
        let node = Peer {
            node: "node1".into(),
            ..named("node", "192.168.77.101", 0)
        };
        assert_eq!(peer(Some(&node)), "node/node1(192.168.77.101)");
        let ingress = Peer {
            node: "node1".into(),
            ..named("ingress", "10.244.0.1", 4)
        };
        assert_eq!(peer(Some(&ingress)), "ingress(10.244.0.1):4");
        assert_eq!(
            peer(Some(&named("world", "192.0.2.1", 443))),
            "192.0.2.1:443"
        );
        assert_eq!(
            peer(Some(&named("world", "2001:db8::1", 443))),
            "[2001:db8::1]:443"
        );
        assert_eq!(peer(None), "?");
    }

    #[test]
    fn numbers_stay_short() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (1299, "1.2k"),
            (34_567, "34k"),
            (1_500_000, "1.5M"),
        ];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
        assert!(count(u64::MAX).ends_with('T'));
    }

    #[test]
    fn columns_line_up_without_trailing_space() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            columns(&[row(["a", "b"]), row(["long", ""])]),
            "a     b\nlong\n"
        );
    }

    #[test]
    fn an_error_is_one_line_without_repetition() {
        let error = anyhow::anyhow!("connection refused\nmore")
            .context("connect")
            .context("open: connect");
        assert_eq!(one_line(&error), "open: connect: connection refused");
    }

    #[test]
    fn a_refusal_of_the_api_is_told_in_its_own_words() {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let error = anyhow::Error::new(kube::Error::Api(status.boxed())).context("list pods");
        assert_eq!(one_line(&error), "list pods: pods is forbidden");
    }

    #[test]
    fn times_are_short() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |seconds: u64| ago((1_000_000 - seconds) * 1_000_000_000, now);
        assert_eq!(
            [at(3), at(180), at(7200), at(400_000)],
            ["3s", "3m", "2h", "4d"]
        );
        assert_eq!(
            clock(1_500_000_000_123_456_789, &TimeZone::UTC),
            "02:40:00.123"
        );
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert_eq!(Paint::default().bad("no"), "no");
        assert!(Paint::always().bad("no").contains("\u{1b}["));
    }
}
