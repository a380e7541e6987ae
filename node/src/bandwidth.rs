//! The bandwidth limits that pods ask for by annotations: pure.
//!
//! Values are quantities of bits in a second, within the bounds that Kubernetes' own plugins keep. A
//! value that is none, or out of bounds, limits nothing and is told.

use std::collections::BTreeMap;
use std::fmt;

use naru_core::names::annotations;
use naru_core::quantity::{Form, Quantity};
use naru_ebpf_common::endpoint::{LIMITED_EGRESS, LIMITED_INGRESS};
use naru_ebpf_common::{BandwidthKey, policy};

/// The least: a kilobit in a second.
const LEAST: Quantity = Quantity::whole(1_000, Form::DecimalSi);
/// The most: a petabit in a second.
const MOST: Quantity = Quantity::whole(1_000_000_000_000_000, Form::DecimalSi);
const BITS: u64 = 8;

/// Which way, as the pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Into the pod.
    Ingress,
    /// Out of the pod, and of its node.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The annotation that limits it.
    #[must_use]
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Ingress => annotations::INGRESS_BANDWIDTH,
            Self::Egress => annotations::EGRESS_BANDWIDTH,
        }
    }

    /// The endpoint's flag for it.
    const fn flag(self) -> u32 {
        match self {
            Self::Ingress => LIMITED_INGRESS,
            Self::Egress => LIMITED_EGRESS,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Ingress => policy::INGRESS,
            Self::Egress => policy::EGRESS,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Limits of a pod in bytes in a second; it has none in a direction that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits(BTreeMap<Direction, u64>);

impl Limits {
    /// What the annotations say, and what is wrong with them.
    #[must_use]
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> (Self, Vec<Wrong>) {
        let (mut limits, mut wrong) = (Self::default(), Vec::new());
        for direction in Direction::ALL {
            let value = annotations.and_then(|all| all.get(direction.annotation()));
            match value.map(|value| (value, rate(value))) {
                None => {}
                Some((_, Ok(rate))) => limits.set(direction, rate),
                Some((value, Err(why))) => wrong.push(Wrong {
                    direction,
                    value: value.clone(),
                    why,
                }),
            }
        }
        (limits, wrong)
    }

    /// Sets the limit of one direction.
    pub fn set(&mut self, direction: Direction, bytes: u64) {
        self.0.insert(direction, bytes);
    }

    /// Every limit.
    pub fn iter(&self) -> impl Iterator<Item = (Direction, u64)> {
        self.0.iter().map(|(direction, rate)| (*direction, *rate))
    }

    /// The flags of an endpoint with these limits.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.0
            .keys()
            .fold(0, |flags, limited| flags | limited.flag())
    }

    /// The entries of the map for the endpoint with this number.
    pub fn entries(&self, endpoint: u32) -> impl Iterator<Item = (BandwidthKey, u64)> {
        let key = move |direction: Direction| BandwidthKey::new(endpoint, direction.number());
        self.iter()
            .map(move |(direction, rate)| (key(direction), rate))
    }
}

/// An annotation that limits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    direction: Direction,
    value: String,
    why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            direction,
            value,
            why,
        } = self;
        let annotation = direction.annotation();
        write!(
            f,
            "{annotation}: {value:?}: {why}; {direction} is not limited"
        )
    }
}

/// Bytes in a second of a value in bits.
fn rate(value: &str) -> Result<u64, String> {
    let bits: Quantity = value.parse().map_err(|error| format!("{error}"))?;
    if bits < LEAST || bits > MOST {
        return Err("must be from 1k to 1P bits in a second".to_owned());
    }
    Ok(bits.value().unsigned_abs() / BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Limits, Vec<String>) {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let (limits, wrong) = Limits::read(Some(&pairs.collect()));
        (limits, wrong.iter().map(ToString::to_string).collect())
    }

    const IN: &str = "kubernetes.io/ingress-bandwidth";
    const OUT: &str = "kubernetes.io/egress-bandwidth";

    #[test]
    fn values_are_bits_and_limits_are_bytes() {
        let (limits, wrong) = read(&[(IN, "10M"), (OUT, "1Gi"), ("other", "x")]);
        let all: Vec<_> = limits.iter().collect();
        assert_eq!(
            all,
            [
                (Direction::Ingress, 1_250_000),
                (Direction::Egress, 1 << 27)
            ]
        );
        assert!(wrong.is_empty());
        assert_eq!(limits.flags(), LIMITED_INGRESS | LIMITED_EGRESS);
        assert_eq!(Limits::read(None), (Limits::default(), vec![]));
    }

    #[test]
    fn the_bounds_are_those_of_kubernetes() {
        for value in ["1k", "1e3", "1P", "1000000G"] {
            assert_eq!(read(&[(IN, value)]).1, [""; 0], "{value}");
        }
        for value in ["999", "999999m", "0", "-1M", "1001T", "1Pi"] {
            let (limits, wrong) = read(&[(OUT, value)]);
            assert_eq!(limits, Limits::default());
            let expected = format!(
                "{OUT}: {value:?}: must be from 1k to 1P bits in a second; egress is not limited"
            );
            assert_eq!(wrong, [expected]);
        }
    }

    #[test]
    fn one_wrong_value_does_not_touch_the_other() {
        let (limits, wrong) = read(&[(IN, "fast"), (OUT, "1M")]);
        assert_eq!(limits.flags(), LIMITED_EGRESS);
        let [wrong] = wrong.as_slice() else {
            panic!("{wrong:?}")
        };
        assert!(
            wrong.starts_with(IN) && wrong.contains("\"fast\""),
            "{wrong}"
        );
    }

    #[test]
    fn entries_belong_to_an_endpoint() {
        let (limits, _) = read(&[(IN, "8k"), (OUT, "16k")]);
        let entries: Vec<_> = limits.entries(7).collect();
        let key = |direction| BandwidthKey::new(7, direction);
        assert_eq!(
            entries,
            [(key(policy::INGRESS), 1000), (key(policy::EGRESS), 2000)]
        );
    }
}
