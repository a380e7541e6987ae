use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const QUEUING: Queuing = Queuing {
    queues: 64,
    hand: 4,
    length: 5,
};

/// A level and everybody in it, who notes what the level forgets.
struct Scene {
    set: QueueSet,
    now: u64,
    seated: BTreeMap<u64, (Place, u64)>,
    waiting: BTreeMap<u64, Place>,
}

impl Scene {
    fn new(queuing: Option<Queuing>, limit: u64) -> Self {
        Self {
            set: QueueSet::new(queuing, limit),
            now: 0,
            seated: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn arrive(&mut self, flow: u64, width: u32) -> Arrival {
        let arrival = self.set.arrive(self.now, flow, width);
        match arrival {
            Arrival::Seated(place) => {
                self.seated.insert(place.number, (place, self.now));
            }
            Arrival::Waiting(place) => {
                self.waiting.insert(place.number, place);
            }
            Arrival::Refused => {}
        }
        self.call();
        arrival
    }

    /// Those who are called, in order.
    fn call(&mut self) -> Vec<u64> {
        let mut called = Vec::new();
        while let Some(number) = self.set.next(self.now) {
            let place = self.waiting.remove(&number).expect("it waits");
            self.seated.insert(number, (place, self.now));
            called.push(number);
        }
        called
    }

    fn finish(&mut self, number: u64) -> Vec<u64> {
        let (place, since) = self.seated.remove(&number).expect("it sits");
        self.set.finish(self.now, place, since);
        self.call()
    }

    fn give_up(&mut self, number: u64) {
        let place = self.waiting.remove(&number).expect("it waits");
        self.set.give_up(self.now, place);
        self.call();
    }

    fn seats(&self) -> u64 {
        self.seated
            .values()
            .map(|(it, _)| u64::from(it.width))
            .sum()
    }

    /// What is true at any moment.
    fn check(&self) {
        let tally = self.set.tally();
        assert_eq!(tally.executing, self.seated.len());
        assert_eq!(tally.waiting, self.waiting.len());
        assert_eq!(tally.seats, self.seats());
        let widest = self
            .seated
            .values()
            .map(|(it, _)| u64::from(it.width))
            .max();
        let alone = self.seated.len() == 1 && widest > Some(self.set.limit);
        assert!(alone || tally.seats <= self.set.limit || self.seated.is_empty());
        let both = self.seated.values().map(|(it, _)| it);
        let used: BTreeSet<_> = both
            .chain(self.waiting.values())
            .map(|it| it.queue)
            .collect();
        let used = used.into_iter().flatten().count();
        assert_eq!(
            tally.queues, used,
            "a queue exists while it holds a request"
        );
        for queue in self.set.queues.values() {
            let numbers: Vec<_> = queue.waiting.iter().map(|it| it.number).collect();
            assert!(numbers.is_sorted(), "first come, first served");
            let wanted: u64 = queue.waiting.iter().map(|it| u64::from(it.width)).sum();
            assert_eq!(queue.wanted, wanted);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(u64, u32),
    Finish(usize),
    GiveUp(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20_u64, 1..8_u32).prop_map(|(flow, width)| Step::Arrive(flow * 7919, width)),
        3 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => (0..20 * MS).prop_map(Step::Pass),
    ]
}

fn nth<T>(map: &BTreeMap<u64, T>, index: usize) -> Option<u64> {
    let count = map.len().max(1);
    map.keys().nth(index % count).copied()
}

/// A request more, and whose it is.
fn ask(scene: &mut Scene, flows: &mut BTreeMap<u64, u64>, flow: u64) {
    match scene.arrive(flow, 1) {
        Arrival::Seated(place) | Arrival::Waiting(place) => flows.insert(place.number, flow),
        Arrival::Refused => panic!("there is room"),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nobody_is_lost_and_no_bound_is_broken(
        limit in 1..12_u64,
        queued: bool,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let queuing = queued.then_some(Queuing { queues: 8, hand: 2, length: 3 });
        let mut scene = Scene::new(queuing, limit);
        for step in steps {
            match step {
                Step::Arrive(flow, width) => {
                    let free = scene.seats() < limit;
                    let refused = scene.arrive(flow, width) == Arrival::Refused;
                    prop_assert!(!(refused && queued && free), "free seats and a refusal");
                }
                Step::Finish(index) => if let Some(number) = nth(&scene.seated, index) {
                    scene.finish(number);
                },
                Step::GiveUp(index) => if let Some(number) = nth(&scene.waiting, index) {
                    scene.give_up(number);
                },
                Step::Pass(time) => scene.now += time,
            }
            scene.check();
            // Seats are not left empty while somebody could have them: whoever is next is too wide.
            prop_assert!(scene.waiting.is_empty() || !scene.seated.is_empty());
        }
        // Everybody who waits gets his turn once those before him are over.
        while let Some(number) = nth(&scene.seated, 0) {
            scene.now += MS;
            scene.finish(number);
            scene.check();
        }
        prop_assert!(scene.waiting.is_empty());
        prop_assert_eq!(scene.set.tally().queues, 0);
    }

    /// Of two flows that never stop asking, in queues of their own, each is served half of the time,
    /// however many of one wait and however long each of its requests lasts.
    #[test]
    fn flows_share_seats_and_not_requests(
        seats in 1..6_u64,
        long in 1..10_u64,
        crowd in 1..5_usize,
    ) {
        let queuing = Queuing { queues: 2, hand: 1, length: 100 };
        let mut scene = Scene::new(Some(queuing), seats);
        let (short, long) = (5 * MS, 5 * long * MS);
        let mut flows = BTreeMap::new();
        let mut served = [0_u64; 2];
        for flow in [0, 1] {
            for _ in 0..12 + crowd * 10 * usize::from(flow == 0) {
                ask(&mut scene, &mut flows, flow);
            }
        }
        while scene.now < 20_000 * MS {
            let length = |number: &u64| if flows[number] == 0 { long } else { short };
            let ends = |(number, (_, since)): (&u64, &(Place, u64))| (since + length(number), *number);
            let (end, number) = scene.seated.iter().map(ends).min().unwrap();
            let lasted = length(&number);
            scene.now = scene.now.max(end);
            let flow = flows.remove(&number).unwrap();
            served[usize::try_from(flow).unwrap()] += lasted;
            scene.finish(number);
            ask(&mut scene, &mut flows, flow);
        }
        let (one, other) = (served[0], served[1]);
        let difference = one.abs_diff(other);
        prop_assert!(difference * 20 <= one + other, "{one} and {other}");
    }
}

#[test]
fn a_request_is_seated_at_once_while_there_are_seats() {
    let mut scene = Scene::new(Some(QUEUING), 3);
    for _ in 0..3 {
        assert!(matches!(scene.arrive(1, 1), Arrival::Seated(_)));
    }
    assert!(matches!(scene.arrive(1, 1), Arrival::Waiting(_)));
    scene.check();
}

#[test]
fn a_flow_fills_its_hand_and_is_refused_while_others_wait() {
    let mut scene = Scene::new(Some(QUEUING), 1);
    let room = 1 + 4 * 5;
    for _ in 0..room {
        assert_ne!(scene.arrive(1, 1), Arrival::Refused);
    }
    assert_eq!(scene.arrive(1, 1), Arrival::Refused);
    // Some other flow's hand has another queue in it.
    assert!(matches!(scene.arrive(99, 1), Arrival::Waiting(_)));
    assert_eq!(scene.set.tally().refused, 1);
}

#[test]
fn a_newcomer_is_next_however_many_of_a_flood_wait() {
    let queuing = Queuing {
        queues: 2,
        hand: 1,
        length: 100,
    };
    let mut scene = Scene::new(Some(queuing), 1);
    for _ in 0..50 {
        scene.arrive(0, 1);
    }
    // The flood has been served for a while.
    for _ in 0..10 {
        scene.now += 10 * MS;
        let first = nth(&scene.seated, 0).unwrap();
        scene.finish(first);
    }
    let Arrival::Waiting(newcomer) = scene.arrive(1, 1) else {
        panic!("the one seat is taken");
    };
    let first = nth(&scene.seated, 0).unwrap();
    scene.now += 10 * MS;
    assert_eq!(scene.finish(first), [newcomer.number]);
}

#[test]
fn without_queues_whoever_finds_no_seat_is_refused() {
    let mut scene = Scene::new(None, 2);
    assert!(matches!(scene.arrive(1, 1), Arrival::Seated(_)));
    assert_eq!(scene.arrive(2, 2), Arrival::Refused);
    assert!(matches!(scene.arrive(2, 1), Arrival::Seated(_)));
    assert_eq!(scene.arrive(3, 1), Arrival::Refused);
    scene.check();
}

#[test]
fn a_wide_request_is_not_passed_over() {
    let queuing = Queuing { hand: 1, ..QUEUING };
    let mut scene = Scene::new(Some(queuing), 4);
    for _ in 0..4 {
        scene.arrive(1, 1);
    }
    let Arrival::Waiting(wide) = scene.arrive(2, 4) else {
        panic!("there is no seat");
    };
    scene.now += 100 * MS;
    scene.arrive(3, 1);
    let numbers: Vec<u64> = scene.seated.keys().copied().collect();
    for number in &numbers[..3] {
        assert_eq!(scene.finish(*number), [0_u64; 0]);
    }
    assert_eq!(scene.finish(numbers[3])[0], wide.number);
}

#[test]
fn what_is_wider_than_the_level_is_served_alone() {
    let mut scene = Scene::new(Some(QUEUING), 2);
    assert!(matches!(scene.arrive(1, 9), Arrival::Seated(_)));
    assert!(matches!(scene.arrive(2, 1), Arrival::Waiting(_)));
    let wide = nth(&scene.seated, 0).unwrap();
    assert_eq!(scene.finish(wide).len(), 1);
}

#[test]
fn a_level_without_seats_lets_nobody_through_until_it_has_some() {
    let mut scene = Scene::new(Some(QUEUING), 0);
    assert!(matches!(scene.arrive(1, 1), Arrival::Waiting(_)));
    scene.set.resize(scene.now, 1);
    assert_eq!(scene.call().len(), 1);
}

#[test]
fn who_waits_keeps_his_place_when_the_queues_change() {
    let mut scene = Scene::new(Some(QUEUING), 1);
    for _ in 0..5 {
        scene.arrive(1, 1);
    }
    scene.set.reconfigure(None);
    assert_eq!(scene.arrive(1, 1), Arrival::Refused);
    scene.set.resize(scene.now, 4);
    assert_eq!(scene.call().len(), 3);
    scene.check();
}

#[test]
fn what_is_wanted_counts_those_who_wait() {
    let mut scene = Scene::new(Some(QUEUING), 1);
    for _ in 0..3 {
        scene.arrive(1, 1);
    }
    scene.now += 1000 * MS;
    let seen = scene.set.observe(scene.now);
    assert_eq!((seen.average, seen.peak), (Some(3.0), 3));
}
