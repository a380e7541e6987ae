//! What holds between a pod and one class of addresses, port by port.
//!
//! The rules of the tier Admin are asked in their order, then NetworkPolicies if one isolates the
//! pod, otherwise the rules of the tier Baseline; what nobody decides may pass.

use std::collections::{BTreeMap, BTreeSet};

use naru_ebpf_common::policy::{ALLOW, DENY};
use naru_ebpf_common::protocol;

use super::compile::World;
use super::direction::Direction;
use super::ports::Span;
use super::rule::Rule;
use crate::ipcache::Class;
use crate::watches::{Action, PodPort};

/// The protocols that rules can name.
const TRANSPORTS: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::SCTP];
/// Stands for every port and for the port of protocols that have none.
const ANY_PORT: u16 = 0;
/// The rule of what no rule decides.
const NO_RULE: u32 = 0;

/// Any protocol with any port.
pub(super) const EVERYTHING: (u8, u16) = (protocol::ANY, ANY_PORT);
/// NetworkPolicies isolate the pod, and none of their rules allows the flow.
pub(super) const ISOLATED: Word = Word {
    verdict: DENY,
    rule: NO_RULE,
};
/// Nobody decides.
const OPEN: Word = Word {
    verdict: ALLOW,
    rule: NO_RULE,
};

/// Verdict and rule of an entry of the policy map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word {
    /// `ALLOW` or `DENY`.
    pub(super) verdict: u32,
    /// The rule that says so, 0 where none does.
    pub(super) rule: u32,
}

/// Protocol and port, each with its wildcard, and what holds there.
pub(super) type Entry = ((u8, u16), Word);

/// The rules that speak of one class.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tiers {
    admin: Vec<Meant>,
    /// `None` if no NetworkPolicy isolates the pod.
    network: Option<Vec<Meant>>,
    baseline: Vec<Meant>,
}

/// A rule, its ports in numbers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Meant {
    number: u32,
    action: Action,
    spans: Vec<Span>,
}

impl Tiers {
    /// Of the rules of a direction those that mean the class. `named` are the ports of the pods that
    /// are called.
    pub(super) fn of(
        direction: &Direction<'_>,
        class: Option<&Class>,
        named: &[PodPort],
        world: &World<'_>,
    ) -> Self {
        let meant = |rules: &[Rule<'_>]| -> Vec<Meant> {
            let rules = rules.iter();
            let meant = rules.filter(|rule| rule.peers.mean(class, world.namespaces));
            meant.map(|rule| Meant::of(rule, named)).collect()
        };
        Self {
            admin: meant(&direction.admin),
            network: (!direction.isolating.is_empty()).then(|| meant(&direction.network)),
            baseline: meant(&direction.baseline),
        }
    }

    /// The class's part of the policy map, whole: it begins with what holds for everything.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let other = self.judge(protocol::ANY, ANY_PORT);
        let mut entries = vec![(EVERYTHING, other)];
        for transport in TRANSPORTS {
            let segments = self.segments(transport);
            let most = most(&segments);
            if most != other {
                entries.push(((transport, ANY_PORT), most));
            }
            for (first, last, word) in segments {
                if word != most {
                    let ports = first.max(1)..=last;
                    entries.extend(ports.map(|port| ((transport, port), word)));
                }
            }
        }
        entries
    }

    fn judge(&self, protocol: u8, port: u16) -> Word {
        let asked = |rules: &[Meant]| -> Option<(Action, u32)> {
            let first = rules.iter().find(|rule| rule.covers(protocol, port));
            first.map(|rule| (rule.action, rule.number))
        };
        if let Some(word) = asked(&self.admin).and_then(decided) {
            return word;
        }
        match &self.network {
            Some(rules) => asked(rules).and_then(decided).unwrap_or(ISOLATED),
            None => asked(&self.baseline).and_then(decided).unwrap_or(OPEN),
        }
    }

    /// First port, last port and what holds there, from 0 to the highest.
    fn segments(&self, transport: u8) -> Vec<(u16, u16, Word)> {
        let network = self.network.iter().flatten();
        let rules = self.admin.iter().chain(network).chain(&self.baseline);
        let spans = rules.flat_map(|rule| &rule.spans);
        let ends = spans.filter(|span| span.protocol == transport);
        let ends = ends.flat_map(|span| [Some(span.first), span.last.checked_add(1)]);
        let mut begins: BTreeSet<u16> = ends.flatten().collect();
        begins.insert(ANY_PORT);
        let lasts = begins.iter().skip(1).map(|next| next - 1);
        let lasts = lasts.chain([u16::MAX]);
        let segments = begins.iter().zip(lasts);
        segments
            .map(|(first, last)| (*first, last, self.judge(transport, *first)))
            .collect()
    }
}

fn decided((action, rule): (Action, u32)) -> Option<Word> {
    let verdict = match action {
        Action::Accept => ALLOW,
        Action::Deny => DENY,
        Action::Pass => return None,
    };
    Some(Word { verdict, rule })
}

/// What holds for most ports: the others get an entry each. Port 0, whose number is the wildcard's,
/// gets none and goes with most; nobody can listen on it.
fn most(segments: &[(u16, u16, Word)]) -> Word {
    let mut widths: BTreeMap<Word, u32> = BTreeMap::new();
    for (first, last, word) in segments {
        *widths.entry(*word).or_default() += u32::from(last - first) + 1;
    }
    let most = widths.into_iter().max_by_key(|(_, width)| *width);
    most.map_or(OPEN, |(word, _)| word)
}

impl Meant {
    fn of(rule: &Rule<'_>, named: &[PodPort]) -> Self {
        Self {
            number: rule.number,
            action: rule.action,
            spans: rule
                .ports
                .iter()
                .flat_map(|port| port.spans(named))
                .collect(),
        }
    }

    fn covers(&self, protocol: u8, port: u16) -> bool {
        self.spans.iter().any(|span| span.covers(protocol, port))
    }
}
