//! Who announces an address: a state machine that is given messages and the time.
//!
//! Expected flow: the few best candidates of an address tell each other several times a second
//! whether they lead it or stand by. While one leads, the others stand by, even if one of them ranks
//! higher: a move costs connections. Who has heard no leader for [`DEAD`] and ranks first among
//! those that it hears, leads from then on, under a term one higher than any that it knows.
//!
//! Guarantees: nodes that hear each other agree within a heartbeat on one leader, the one with the
//! highest term and, among equals, the highest rank. A dead leader is followed by another after at
//! most [`DEAD`] plus a tick; one that steps down tells so and is followed at once.
//!
//! Assumptions: candidates are on one link with the clients of the address. Nodes that can't hear
//! each other both lead; each serves the clients that it can reach, which is what is wanted of a
//! link that fell apart. Nothing is asked of the API server meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::message::{Entry, Stance};

/// How often a candidate says how it stands.
pub const HEARTBEAT: Duration = Duration::from_millis(250);
/// Silence after which a candidate counts as gone.
pub const DEAD: Duration = Duration::from_millis(1000);
/// How long somebody new listens for a leader that may exist.
const LISTEN: Duration = Duration::from_millis(600);
/// How long somebody that led before it was started again, or whose link was away, listens for a
/// successor.
const RESUME: Duration = Duration::from_millis(300);
/// How long a higher ranked candidate that is alive, but does not lead, is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many of the candidates of an address stand by.
const STANDING: usize = 3;
/// How many heartbeats tell that somebody has stepped down.
const FAREWELLS: u8 = 3;

/// What happened to an address here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This node announces it from now on.
    Took(IpAddr),
    /// Another node does, or nobody has to.
    Left(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    stance: Stance,
    term: u32,
    at: Duration,
}

#[derive(Debug)]
struct Contest {
    /// Candidates by address of the node, the best first.
    ranked: Vec<IpAddr>,
    leads: bool,
    term: u32,
    /// Not before then does this node lead.
    earliest: Duration,
    /// Whether it led before it was started again, or before its link went away: until `earliest`
    /// it says nothing that others would act upon.
    resuming: bool,
    /// Since when no leader has been known.
    leaderless: Option<Duration>,
    heard: BTreeMap<IpAddr, Heard>,
    /// Heartbeats left that say goodbye; while there are any, this node does not stand.
    farewells: Option<u8>,
}

/// All addresses that this node has to do with.
#[derive(Debug)]
pub struct Election {
    me: IpAddr,
    contests: BTreeMap<IpAddr, Contest>,
    /// Terms under which this node led before it was started again.
    resumed: BTreeMap<IpAddr, u32>,
}

impl Election {
    /// No address yet. `resumed` holds the terms of those that this node led when it was ended.
    #[must_use]
    pub fn new(me: IpAddr, resumed: BTreeMap<IpAddr, u32>) -> Self {
        Self {
            me,
            contests: BTreeMap::new(),
            resumed,
        }
    }

    /// Takes over what the API says: for each address the nodes that may announce it, best first.
    pub fn set(&mut self, now: Duration, wanted: &BTreeMap<IpAddr, Vec<IpAddr>>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (address, contest) in &mut self.contests {
            let ranked = wanted.get(address).cloned().unwrap_or_default();
            if !stands(&ranked, self.me, contest.leads) && contest.farewells.is_none() {
                changes.extend(contest.leads.then_some(Change::Left(*address)));
                contest.leads = false;
                contest.farewells = Some(FAREWELLS);
            } else if stands(&ranked, self.me, contest.leads) {
                contest.farewells = None;
                contest.ranked = ranked;
            }
        }
        for (address, ranked) in wanted {
            if stands(ranked, self.me, false) && !self.contests.contains_key(address) {
                let resumed = self.resumed.remove(address);
                let wait = if resumed.is_some() { RESUME } else { LISTEN };
                let contest = Contest {
                    ranked: ranked.clone(),
                    leads: false,
                    // A successor leads under a higher term; without one this node goes on.
                    term: resumed.map_or(0, |term| term.saturating_sub(1)),
                    earliest: now + wait,
                    resuming: resumed.is_some(),
                    leaderless: None,
                    heard: BTreeMap::new(),
                    farewells: None,
                };
                self.contests.insert(*address, contest);
            }
        }
        changes
    }

    /// Hears what the node `from` says. The caller knows that it is a node.
    pub fn hear(&mut self, now: Duration, from: IpAddr, entries: &[Entry]) {
        for entry in entries {
            if let Some(contest) = self.contests.get_mut(&entry.address) {
                let heard = Heard {
                    stance: entry.stance,
                    term: entry.term,
                    at: now,
                };
                contest.heard.insert(from, heard);
            }
        }
    }

    /// The link was away, and what the others said meanwhile was not heard: this node listens
    /// before it leads, as one does that was started again.
    pub fn rejoin(&mut self, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        for (address, contest) in &mut self.contests {
            contest.heard.clear();
            contest.leaderless = None;
            contest.earliest = now + RESUME;
            if contest.leads {
                contest.leads = false;
                contest.resuming = true;
                contest.term = contest.term.saturating_sub(1);
                changes.push(Change::Left(*address));
            }
        }
        changes
    }

    /// Looks who leads now.
    pub fn tick(&mut self, now: Duration) -> Vec<Change> {
        let me = self.me;
        let mut changes = Vec::new();
        for (address, contest) in &mut self.contests {
            changes.extend(contest.tick(now, me, *address));
        }
        changes
    }

    /// The addresses that this node leads while another one says that it does, too, and is wrong.
    #[must_use]
    pub fn disputed(&self, now: Duration) -> Vec<IpAddr> {
        let led = self.contests.iter().filter(|(_, contest)| contest.leads);
        let disputed = led.filter(|(_, contest)| contest.leader(now).is_some());
        disputed.map(|(address, _)| *address).collect()
    }

    /// What is to be told to whom. Called once a heartbeat.
    pub fn messages(&mut self, now: Duration) -> BTreeMap<IpAddr, Vec<Entry>> {
        let mut messages: BTreeMap<IpAddr, Vec<Entry>> = BTreeMap::new();
        let silent =
            |contest: &Contest| contest.resuming && !contest.leads && now < contest.earliest;
        for (address, contest) in self
            .contests
            .iter_mut()
            .filter(|(_, contest)| !silent(contest))
        {
            let entry = Entry {
                address: *address,
                term: contest.term,
                stance: contest.stance(),
            };
            for peer in contest.peers(now, self.me) {
                messages.entry(peer).or_default().push(entry);
            }
            contest.farewells = contest.farewells.map(|left| left.saturating_sub(1));
        }
        self.contests
            .retain(|_, contest| contest.farewells != Some(0));
        messages
    }

    /// Whether there is nothing to tell or to wait for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.contests.is_empty()
    }

    /// The addresses that this node announces, with their terms.
    #[must_use]
    pub fn leads(&self) -> BTreeMap<IpAddr, u32> {
        let leading = self.contests.iter().filter(|(_, contest)| contest.leads);
        leading
            .map(|(address, contest)| (*address, contest.term))
            .collect()
    }
}

/// Whether node `me` is among the few that stand. A leader stays one as long as it may lead at all.
fn stands(ranked: &[IpAddr], me: IpAddr, leads: bool) -> bool {
    let many = if leads { ranked.len() } else { STANDING };
    ranked.iter().take(many).any(|candidate| *candidate == me)
}

impl Contest {
    fn stance(&self) -> Stance {
        match (self.farewells, self.leads) {
            (Some(_), _) => Stance::Gone,
            (None, true) => Stance::Leads,
            (None, false) => Stance::Stands,
        }
    }

    fn alive(&self, now: Duration) -> impl Iterator<Item = (IpAddr, Heard)> {
        let heard = self.heard.iter().map(|(peer, heard)| (*peer, *heard));
        heard.filter(move |(_, heard)| heard.stance != Stance::Gone && heard.at + DEAD > now)
    }

    /// Those that stand, and whoever else has been heard: a leader may not be among the best.
    fn peers(&self, now: Duration, me: IpAddr) -> BTreeSet<IpAddr> {
        let standing = self.ranked.iter().take(STANDING).copied();
        let alive = self.alive(now).map(|(peer, _)| peer);
        standing.chain(alive).filter(|peer| *peer != me).collect()
    }

    fn rank(&self, node: IpAddr) -> usize {
        let found = self.ranked.iter().position(|candidate| *candidate == node);
        found.unwrap_or(usize::MAX)
    }

    /// The best claim of another node.
    fn leader(&self, now: Duration) -> Option<(IpAddr, u32)> {
        let leading = self
            .alive(now)
            .filter(|(_, heard)| heard.stance == Stance::Leads);
        leading
            .max_by_key(|(peer, heard)| (heard.term, std::cmp::Reverse(self.rank(*peer))))
            .map(|(peer, heard)| (peer, heard.term))
    }

    fn tick(&mut self, now: Duration, me: IpAddr, address: IpAddr) -> Option<Change> {
        if self.farewells.is_some() {
            return None;
        }
        let leader = self.leader(now);
        self.leaderless = match leader {
            None => self.leaderless.or(Some(now)),
            Some(_) => None,
        };
        match (leader, self.leads) {
            (Some((peer, term)), true) => {
                let better =
                    term > self.term || (term == self.term && self.rank(peer) < self.rank(me));
                if !better {
                    return None;
                }
                self.leads = false;
                self.term = term;
                Some(Change::Left(address))
            }
            (Some((_, term)), false) => {
                self.term = self.term.max(term);
                None
            }
            (None, true) => None,
            (None, false) => self.may_take(now, me).then(|| {
                self.leads = true;
                self.term += 1;
                Change::Took(address)
            }),
        }
    }

    /// Whether it is this node's turn: it has listened, and those that rank higher are gone, or
    /// alive and for some reason idle.
    fn may_take(&self, now: Duration, me: IpAddr) -> bool {
        let rank = self.rank(me);
        let before = self
            .alive(now)
            .filter(|(peer, _)| self.rank(*peer) < rank)
            .count();
        // At most STANDING candidates and a former leader rank before this one.
        let patience = PATIENCE * u32::try_from(before).unwrap_or(u32::MAX);
        let waited = self.leaderless.unwrap_or(now).max(self.earliest);
        now >= waited + patience
    }
}

#[cfg(test)]
mod tests;
