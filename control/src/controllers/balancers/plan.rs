//! Who gets which address: a pure function of pools, Services and what is taken.
//!
//! Guarantees: no address is given twice; a Service keeps what it has as long as a pool allows it;
//! the same input gives the same answer, older Services first. A Service that asks for something it
//! can't have keeps what it had and hears why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::runtime::Key;
use super::pool::{Labels, Pool};

/// A Service that wants addresses.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// Its key.
    pub key: Key,
    /// Its labels.
    pub labels: Labels,
    /// Those of its namespace.
    pub namespace: Labels,
    /// For each family that it has, whether that is IPv6.
    pub families: Vec<bool>,
    /// Whether it must have an address of every family.
    pub all_families: bool,
    /// The addresses that it asks for, as written.
    pub asked: Vec<String>,
    /// The pool that it asks for.
    pub pool: Option<String>,
    /// What it has.
    pub held: Vec<IpAddr>,
    /// Whether it is on its way out, and gets nothing new.
    pub leaving: bool,
}

/// What a Service gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Why it does not have all that it wants.
    pub refused: Option<Refusal>,
}

/// Why a Service does not get an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A text is no address.
    #[error("{0:?} is not an IP address")]
    Malformed(String),
    /// A family that the Service has not.
    #[error("{0} is of a family that the Service does not have, or the second of its family")]
    Family(IpAddr),
    /// No pool that this Service may use has the address.
    #[error("{0} is in no AddressPool that this Service may use")]
    NotInPool(IpAddr),
    /// Somebody else has it.
    #[error("{0} is taken by {1}")]
    Taken(IpAddr, String),
    /// The pool does not exist, or not for this Service.
    #[error("there is no AddressPool {0} that this Service may use")]
    NoSuchPool(String),
    /// No pool gives addresses to this Service unasked.
    #[error("no AddressPool gives {0} addresses to this Service")]
    NoPool(&'static str),
    /// All addresses are given away.
    #[error("no free {0} address is left in AddressPool {1}")]
    Exhausted(&'static str, String),
}

impl Refusal {
    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "AddressMalformed",
            Refusal::Family(_) => "AddressFamily",
            Refusal::NotInPool(_) => "AddressNotInPool",
            Refusal::Taken(..) => "AddressTaken",
            Refusal::NoSuchPool(_) => "NoSuchPool",
            Refusal::NoPool(_) => "NoPool",
            Refusal::Exhausted(..) => "PoolExhausted",
        }
    }
}

/// Who has an address.
pub type Taken = BTreeMap<IpAddr, String>;

/// Decides about all `claimants`, the oldest first. `taken` holds what others have: nodes, external
/// addresses, load balancers of other controllers.
pub fn plan(claimants: &[Claimant], pools: &[Pool], taken: &Taken) -> BTreeMap<Key, Outcome> {
    let mut table = Table {
        pools,
        taken: taken.clone(),
    };
    let kept: Vec<_> = claimants
        .iter()
        .map(|claimant| table.keep(claimant))
        .collect();
    let settle = |(claimant, kept): (&Claimant, Vec<IpAddr>)| {
        let outcome = table.settle(claimant, kept);
        (claimant.key.clone(), outcome)
    };
    // What is asked for by address goes first, lest it be given away unasked.
    let (asking, rest): (Vec<_>, Vec<_>) = claimants
        .iter()
        .zip(kept)
        .partition(|(claimant, _)| !claimant.asked.is_empty());
    asking.into_iter().chain(rest).map(settle).collect()
}

struct Table<'a> {
    pools: &'a [Pool],
    taken: Taken,
}

fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

/// Addresses that some networks mistake for a network or a broadcast: given on request only.
fn is_odd(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if matches!(address.octets()[3], 0 | 255))
}

impl Table<'_> {
    /// The pools that a Service may use.
    fn pools_of<'b>(&'b self, claimant: &'b Claimant) -> impl Iterator<Item = &'b Pool> {
        let named = |pool: &&Pool| claimant.pool.as_ref().is_none_or(|name| *name == pool.name);
        let admits = |pool: &&Pool| pool.admits(&claimant.labels, &claimant.namespace);
        self.pools.iter().filter(named).filter(admits)
    }

    fn take(&mut self, address: IpAddr, claimant: &Claimant) {
        self.taken
            .insert(address, format!("Service {}", claimant.key));
    }

    /// What a Service has and may keep, one of each family.
    fn keep(&mut self, claimant: &Claimant) -> Vec<IpAddr> {
        let mut kept: Vec<IpAddr> = Vec::new();
        for address in &claimant.held {
            let family = |other: &IpAddr| other.is_ipv6() == address.is_ipv6();
            let wanted = claimant.families.contains(&address.is_ipv6()) && !kept.iter().any(family);
            let allowed =
                claimant.leaving || self.pools_of(claimant).any(|pool| pool.contains(*address));
            if wanted && allowed && !self.taken.contains_key(address) {
                self.take(*address, claimant);
                kept.push(*address);
            }
        }
        kept
    }

    fn settle(&mut self, claimant: &Claimant, mut addresses: Vec<IpAddr>) -> Outcome {
        let mut refused = None;
        if !claimant.leaving {
            match self.asked(claimant, &addresses) {
                Ok(asked) => self.swap(claimant, &mut addresses, &asked),
                Err(refusal) => refused = Some(refusal),
            }
        }
        for v6 in &claimant.families {
            let has = addresses.iter().any(|address| address.is_ipv6() == *v6);
            // Who asked for something else does not get what it did not ask for.
            if has || refused.is_some() || claimant.leaving {
                continue;
            }
            match self.choose(claimant, *v6) {
                Ok(address) => {
                    self.take(address, claimant);
                    addresses.push(address);
                }
                Err(refusal) => refused = Some(refusal),
            }
        }
        if !claimant.all_families && !addresses.is_empty() && claimant.asked.is_empty() {
            refused = refused.filter(|refusal| !lacks_family(refusal));
        }
        Outcome { addresses, refused }
    }

    /// The addresses that a Service asks for, if it may have them all.
    fn asked(&self, claimant: &Claimant, held: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
        if let Some(name) = &claimant.pool
            && self.pools_of(claimant).next().is_none()
        {
            return Err(Refusal::NoSuchPool(name.clone()));
        }
        let mut families = BTreeSet::new();
        let mut addresses = Vec::new();
        for text in &claimant.asked {
            let address: IpAddr = text.parse().map_err(|_| Refusal::Malformed(text.clone()))?;
            let v6 = address.is_ipv6();
            if !claimant.families.contains(&v6) || !families.insert(v6) {
                return Err(Refusal::Family(address));
            }
            if !self.pools_of(claimant).any(|pool| pool.contains(address)) {
                return Err(Refusal::NotInPool(address));
            }
            if let Some(owner) = self.taken.get(&address)
                && !held.contains(&address)
            {
                return Err(Refusal::Taken(address, owner.clone()));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Puts what was asked for in the place of what the Service had of the same family.
    fn swap(&mut self, claimant: &Claimant, addresses: &mut Vec<IpAddr>, asked: &[IpAddr]) {
        for wanted in asked {
            addresses.retain(|held| {
                let stays = held.is_ipv6() != wanted.is_ipv6();
                if !stays {
                    self.taken.remove(held);
                }
                stays
            });
            self.take(*wanted, claimant);
            addresses.push(*wanted);
        }
    }

    /// The first free address of the first pool that has one.
    fn choose(&self, claimant: &Claimant, v6: bool) -> Result<IpAddr, Refusal> {
        let named = claimant.pool.is_some();
        let pools = self.pools_of(claimant).filter(|pool| pool.auto || named);
        let mut last = None;
        for pool in pools {
            let ranges = pool.ranges.iter();
            let mut ranges = ranges
                .filter(|range| range.first().is_ipv6() == v6)
                .peekable();
            if ranges.peek().is_none() {
                continue;
            }
            last = Some(pool.name.clone());
            let is_free = |address: &IpAddr| !is_odd(*address) && !self.taken.contains_key(address);
            if let Some(address) = ranges.flat_map(|range| range.iter()).find(is_free) {
                return Ok(address);
            }
        }
        Err(match last {
            Some(pool) => Refusal::Exhausted(family(v6), pool),
            None => Refusal::NoPool(family(v6)),
        })
    }
}

/// Whether all that is missing is an address of one of two families.
fn lacks_family(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::NoPool(_) | Refusal::Exhausted(..))
}
