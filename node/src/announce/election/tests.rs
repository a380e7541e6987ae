//! Several elections joined by a simulated link, with time that the tests advance.

use super::*;

const TICK: Duration = Duration::from_millis(50);

fn node(k: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, k])
}

fn vip(k: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, k])
}

/// A link with `nodes`; those that are `down` neither send nor receive.
struct Link {
    now: Duration,
    nodes: BTreeMap<IpAddr, Election>,
    down: BTreeSet<IpAddr>,
    changes: Vec<(Duration, IpAddr, Change)>,
}

impl Link {
    fn new(nodes: u8, wanted: &BTreeMap<IpAddr, Vec<IpAddr>>) -> Self {
        let mut link = Self {
            now: Duration::from_secs(100),
            nodes: BTreeMap::new(),
            down: BTreeSet::new(),
            changes: Vec::new(),
        };
        (1..=nodes).for_each(|k| link.join(node(k), BTreeMap::new()));
        link.want(wanted);
        link
    }

    fn join(&mut self, node: IpAddr, resumed: BTreeMap<IpAddr, u32>) {
        self.nodes.insert(node, Election::new(node, resumed));
    }

    fn want(&mut self, wanted: &BTreeMap<IpAddr, Vec<IpAddr>>) {
        for (node, election) in &mut self.nodes {
            let changes = election.set(self.now, wanted);
            self.changes
                .extend(changes.into_iter().map(|change| (self.now, *node, change)));
        }
    }

    fn heartbeat(&mut self) {
        let now = self.now;
        let sent: Vec<_> = self
            .nodes
            .iter_mut()
            .filter(|(node, _)| !self.down.contains(node))
            .map(|(node, election)| (*node, election.messages(now)))
            .collect();
        for (from, messages) in sent {
            for (to, entries) in messages.iter().filter(|(to, _)| !self.down.contains(to)) {
                if let Some(election) = self.nodes.get_mut(to) {
                    election.hear(now, from, entries);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            if self.now.as_millis().is_multiple_of(HEARTBEAT.as_millis()) {
                self.heartbeat();
            }
            for (node, election) in &mut self.nodes {
                if !self.down.contains(node) {
                    let changes = election.tick(self.now);
                    self.changes
                        .extend(changes.into_iter().map(|change| (self.now, *node, change)));
                }
            }
        }
    }

    /// The link of a node is back, and it knows.
    fn rejoin(&mut self, node: IpAddr) {
        self.down.remove(&node);
        let election = self.nodes.get_mut(&node).expect("the node");
        let changes = election.rejoin(self.now);
        self.changes
            .extend(changes.into_iter().map(|change| (self.now, node, change)));
    }

    /// Who of the living leads an address.
    fn leaders(&self, address: IpAddr) -> Vec<IpAddr> {
        let living = self
            .nodes
            .iter()
            .filter(|(node, _)| !self.down.contains(node));
        let leading = living.filter(|(_, election)| election.leads().contains_key(&address));
        leading.map(|(node, _)| *node).collect()
    }
}

fn all(nodes: u8) -> BTreeMap<IpAddr, Vec<IpAddr>> {
    [(vip(1), (1..=nodes).map(node).collect())].into()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_best_candidate_leads_a_new_address_and_alone() {
    let mut link = Link::new(5, &all(5));
    link.run(SECOND * 3);
    assert_eq!(link.leaders(vip(1)), [node(1)]);
    assert_eq!(
        link.changes.len(),
        1,
        "nobody else ever led: {:?}",
        link.changes
    );
}

#[test]
fn a_dead_leader_is_followed_within_two_seconds_and_does_not_come_back() {
    let mut link = Link::new(3, &all(3));
    link.run(SECOND * 3);
    link.down.insert(node(1));
    let died = link.now;
    link.run(SECOND * 2);
    assert_eq!(link.leaders(vip(1)), [node(2)]);
    let (took, ..) = link.changes[1];
    assert!(took - died <= DEAD + TICK * 2, "{:?}", took - died);
    // The node that comes back, its daemon never ended, hears of its successor and steps down.
    link.down.clear();
    link.run(SECOND);
    assert_eq!(link.leaders(vip(1)), [node(2)]);
}

#[test]
fn two_that_die_at_once_are_followed_by_the_third() {
    let mut link = Link::new(3, &all(3));
    link.run(SECOND * 3);
    link.down.extend([node(1), node(2)]);
    link.run(SECOND * 2);
    assert_eq!(link.leaders(vip(1)), [node(3)]);
}

#[test]
fn a_daemon_that_is_back_quickly_goes_on_leading() {
    let mut link = Link::new(3, &all(3));
    link.run(SECOND * 3);
    let terms = link.nodes[&node(1)].leads();
    link.join(node(1), terms);
    link.want(&all(3));
    link.run(SECOND * 3);
    assert_eq!(link.leaders(vip(1)), [node(1)]);
    assert!(
        link.changes.iter().all(|(_, who, _)| *who == node(1)),
        "{:?}",
        link.changes
    );
}

#[test]
fn a_daemon_that_is_back_late_finds_its_successor() {
    let mut link = Link::new(3, &all(3));
    link.run(SECOND * 3);
    let terms = link.nodes[&node(1)].leads();
    link.down.insert(node(1));
    link.run(SECOND * 5);
    link.down.clear();
    link.join(node(1), terms);
    link.want(&all(3));
    link.run(SECOND * 3);
    assert_eq!(link.leaders(vip(1)), [node(2)]);
    assert_eq!(
        link.changes.len(),
        2,
        "it never led again: {:?}",
        link.changes
    );
}

#[test]
fn who_steps_down_is_followed_at_the_next_heartbeat() {
    let mut link = Link::new(3, &all(3));
    link.run(SECOND * 3);
    let left = link.now;
    link.want(&[(vip(1), vec![node(2), node(3)])].into());
    link.run(SECOND);
    assert_eq!(link.leaders(vip(1)), [node(2)]);
    let (took, ..) = *link.changes.last().expect("a change");
    assert!(took - left <= HEARTBEAT + TICK, "{:?}", took - left);
    link.want(&BTreeMap::new());
    link.run(SECOND * 2);
    assert!(link.nodes.values().all(Election::is_idle));
}

#[test]
fn a_leader_that_is_no_longer_among_the_best_goes_on_and_is_followed_by_the_best() {
    let wanted = |ks: &[u8]| [(vip(1), ks.iter().map(|k| node(*k)).collect())].into();
    let mut link = Link::new(6, &wanted(&[6]));
    link.run(SECOND * 3);
    link.want(&wanted(&[1, 2, 3, 4, 5, 6]));
    link.run(SECOND * 3);
    assert_eq!(link.leaders(vip(1)), [node(6)]);
    link.down.insert(node(6));
    link.run(SECOND * 2);
    assert_eq!(link.leaders(vip(1)), [node(1)]);
}

#[test]
fn a_link_that_heals_has_one_leader_again() {
    let mut link = Link::new(2, &all(2));
    link.run(SECOND * 3);
    // Each of them is cut off in turn, so that both lead.
    link.down.insert(node(1));
    link.run(SECOND * 2);
    link.down.clear();
    assert_eq!(link.leaders(vip(1)).len(), 2);
    assert!(link.nodes[&node(2)].disputed(link.now).is_empty());
    link.heartbeat();
    // The right one has something to set right: the other answered until now.
    assert_eq!(link.nodes[&node(2)].disputed(link.now), [vip(1)]);
    link.run(SECOND);
    assert_eq!(link.leaders(vip(1)), [node(2)], "the higher term is right");
    assert!(link.nodes[&node(2)].disputed(link.now).is_empty());
}

#[test]
fn only_the_best_and_the_leader_hear_of_an_address() {
    let mut link = Link::new(9, &all(9));
    link.run(SECOND * 3);
    let now = link.now;
    let told = link.nodes.get_mut(&node(1)).expect("node 1").messages(now);
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [node(2), node(3)]);
    assert!(link.nodes[&node(4)].is_idle());
}

#[test]
fn a_leader_whose_link_is_back_finds_its_successor_without_a_word() {
    let mut link = Link::new(3, &all(3));
    link.run(SECOND * 3);
    link.down.insert(node(1));
    link.run(SECOND * 3);
    link.rejoin(node(1));
    link.run(SECOND * 3);
    assert_eq!(link.leaders(vip(1)), [node(2)]);
    let last: Vec<_> = link
        .changes
        .iter()
        .map(|(_, who, what)| (*who, *what))
        .collect();
    assert_eq!(last[2..], [(node(1), Change::Left(vip(1)))]);
}

#[test]
fn a_leader_whose_link_is_back_takes_over_from_a_successor_that_is_lost_at_that_moment() {
    let mut link = Link::new(2, &all(2));
    link.run(SECOND * 3);
    link.down.insert(node(1));
    link.run(SECOND * 3);
    link.rejoin(node(1));
    link.down.insert(node(2));
    let back = link.now;
    link.run(SECOND);
    let (took, who, what) = *link.changes.last().expect("a change");
    assert_eq!((who, what), (node(1), Change::Took(vip(1))));
    assert!(took - back <= RESUME + TICK, "{:?}", took - back);
}

#[test]
fn who_took_over_while_it_was_cut_off_gives_way() {
    let mut link = Link::new(2, &all(2));
    link.run(SECOND * 3);
    // It hears nobody, and leads for itself alone.
    link.down.insert(node(2));
    link.run(SECOND);
    let now = link.now;
    let alone = link.nodes.get_mut(&node(2)).expect("node 2");
    assert_eq!(alone.tick(now + SECOND), [Change::Took(vip(1))]);
    link.run(SECOND);
    link.rejoin(node(2));
    link.run(SECOND * 2);
    assert_eq!(link.leaders(vip(1)), [node(1)]);
    assert!(
        link.changes[1..].iter().all(|(_, who, _)| *who == node(2)),
        "{:?}",
        link.changes
    );
}
