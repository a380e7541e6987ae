//! One PriorityLevelConfiguration, made ready: its shares, and how it queues.

use http::HeaderValue;
use serde_json::Value;

use super::hand;
use super::queues::Queuing;
use super::schema::uid;
use crate::api::value::{integer, name, text};

/// What a level may have, and what it does when that is used up.
#[derive(Debug)]
pub(super) struct LevelSpec {
    pub(super) name: Box<str>,
    /// Its uid as clients hear it; none while there is no such object.
    pub(super) uid: Option<HeaderValue>,
    /// Whether its requests never wait.
    pub(super) exempt: bool,
    /// None where nobody waits.
    pub(super) queuing: Option<Queuing>,
    /// Its part of the server, relative to the other levels'.
    pub(super) shares: u32,
    /// Percent of its seats that others may use.
    lendable: u32,
    /// Percent of its seats that it may use of others'; as many as there are if none is said.
    borrowing: Option<u32>,
}

/// The seats of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// By its shares.
    pub(super) nominal: u64,
    /// With everything lent that it lends.
    pub(super) least: u64,
    /// With everything borrowed that it borrows.
    pub(super) most: u64,
}

impl LevelSpec {
    /// A PriorityLevelConfiguration; none if it makes no sense, as one may that was stored before
    /// somebody looked at it.
    pub(super) fn parse(level: &Value) -> Option<Self> {
        let exempt = text(level, "/spec/type") == "Exempt";
        let part = if exempt { "exempt" } else { "limited" };
        let number = |key: &str| {
            let number = integer(level, &format!("/spec/{part}/{key}"))?;
            u32::try_from(number).ok()
        };
        let queued = text(level, "/spec/limited/limitResponse/type") == "Queue";
        let queuing = if queued { Some(queuing(level)?) } else { None };
        Some(Self {
            name: name(level).into(),
            uid: uid(level),
            exempt,
            queuing,
            shares: number("nominalConcurrencyShares").unwrap_or(if exempt { 0 } else { 30 }),
            lendable: number("lendablePercent").unwrap_or(0).min(100),
            borrowing: number("borrowingLimitPercent"),
        })
    }

    /// Its seats, of `total` that are divided by `shares`.
    pub(super) fn bounds(&self, total: u64, shares: u64) -> Bounds {
        let nominal = (total * u64::from(self.shares)).div_ceil(shares.max(1));
        let percent = |percent: u32| (nominal * u64::from(percent) + 50) / 100;
        let borrowed = match self.borrowing {
            _ if self.exempt => total,
            Some(limit) => percent(limit),
            None => total,
        };
        Bounds {
            nominal,
            least: nominal - percent(self.lendable),
            most: nominal + borrowed,
        }
    }

    /// The seats that one request may take, at most: so few that those of one hand find room.
    pub(super) fn widest(&self, nominal: u64) -> u32 {
        let Some(queuing) = self.queuing else {
            return u32::MAX;
        };
        let part = (nominal * 15).div_ceil(100);
        let widest = part.min(nominal / u64::from(queuing.hand)).max(1);
        u32::try_from(widest).unwrap_or(u32::MAX)
    }
}

fn queuing(level: &Value) -> Option<Queuing> {
    let number = |key: &str| {
        let at = format!("/spec/limited/limitResponse/queuing/{key}");
        u32::try_from(integer(level, &at)?).ok()
    };
    let (queues, cards) = (number("queues")?, number("handSize")?);
    let length = number("queueLengthLimit")?.max(1) as usize;
    hand::fits(queues, cards).then_some(Queuing {
        queues,
        hand: cards,
        length,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::flowcontrol::defaults;

    #[test]
    fn the_seats_of_kubernetes_are_divided_as_there() {
        let specs = defaults::priority_levels();
        let specs: Vec<_> = specs.iter().filter_map(LevelSpec::parse).collect();
        let shares: u64 = specs.iter().map(|spec| u64::from(spec.shares)).sum();
        assert_eq!((specs.len(), shares), (8, 245));
        let of = |name: &str| {
            let spec = specs.iter().find(|spec| &*spec.name == name).unwrap();
            let bounds = spec.bounds(600, shares);
            (bounds.nominal, bounds.least, spec.widest(bounds.nominal))
        };
        assert_eq!(of("exempt"), (0, 0, u32::MAX));
        assert_eq!(of("catch-all"), (13, 13, u32::MAX));
        assert_eq!(of("workload-low"), (245, 24, 37));
        assert_eq!(of("global-default"), (49, 24, 8));
        assert_eq!(of("leader-election"), (25, 25, 4));
    }

    #[test]
    fn a_level_borrows_what_it_says_or_all_there_is() {
        let level = |borrowing: Value| {
            let limited = json!({"nominalConcurrencyShares": 1, "lendablePercent": 50,
                "borrowingLimitPercent": borrowing, "limitResponse": {"type": "Reject"}});
            let spec = json!({"type": "Limited", "limited": limited});
            let spec = LevelSpec::parse(&json!({"spec": spec})).unwrap();
            let Bounds { least, most, .. } = spec.bounds(10, 1);
            (least, most)
        };
        assert_eq!(level(json!(0)), (5, 10));
        assert_eq!(level(json!(25)), (5, 13));
        assert_eq!(level(Value::Null), (5, 20));
    }

    #[test]
    fn what_cannot_be_dealt_is_no_level() {
        let queuing = json!({"queues": 2, "handSize": 3, "queueLengthLimit": 1});
        let response = json!({"type": "Queue", "queuing": queuing});
        let level = json!({"spec": {"type": "Limited", "limited": {"limitResponse": response}}});
        assert!(LevelSpec::parse(&level).is_none());
    }
}
