//! What was acknowledged, what was watched and what is found, held against each other.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// A version of an object and its value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct State {
    pub(super) version: u64,
    pub(super) value: u64,
}

/// What a writer does to its object.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Deed {
    /// It wrote this; of a write that nobody acknowledged the version is not known.
    Wrote(State),
    /// It deleted the object.
    Deleted,
}

/// What a writer did until the server was dead.
#[derive(Default)]
pub(super) struct Life {
    /// What was acknowledged, in order.
    pub(super) deeds: Vec<Deed>,
    /// What was under way.
    pub(super) open: Option<Deed>,
    /// Increments of its counter that were acknowledged.
    pub(super) increments: Vec<State>,
    /// Whether one was under way.
    pub(super) incrementing: bool,
}

/// All objects at one version.
pub(super) struct Found {
    pub(super) version: u64,
    pub(super) objects: BTreeMap<String, State>,
}

/// A server's history, as its clients know it.
#[derive(Default)]
pub(super) struct Record {
    /// The newest version that anybody was told.
    newest: u64,
    /// What each object may be.
    objects: BTreeMap<String, Vec<Option<State>>>,
    /// The least and the most that each counter may be.
    counters: BTreeMap<String, (u64, u64)>,
    acknowledged: usize,
    watched: usize,
}

impl State {
    pub(super) fn of(object: &Value) -> Self {
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        Self {
            version: number(&object["metadata"]["resourceVersion"]).expect("a version"),
            value: number(&object["data"]["value"]).unwrap_or_default(),
        }
    }

    /// Whether this is what was written, as far as that is known.
    fn is(self, written: Self) -> bool {
        self.value == written.value && (written.version == 0 || written.version == self.version)
    }
}

impl Found {
    pub(super) fn of(list: &Value) -> Self {
        let items = list["items"].as_array().expect("a list").iter();
        Self {
            version: State::of(list).version,
            objects: items.map(|item| (name(item), State::of(item))).collect(),
        }
    }
}

impl Record {
    /// Nothing is there but these counters, at zero.
    pub(super) fn of(counters: impl Iterator<Item = String>) -> Self {
        Self {
            counters: counters.map(|name| (name, (0, 0))).collect(),
            ..Self::default()
        }
    }

    /// Writes that were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// What is found has to be what was acknowledged, or what was under way; from here on it is known.
    pub(super) fn check(&mut self, found: &Found) {
        assert!(
            found.version >= self.newest,
            "{} goes back behind {}",
            found.version,
            self.newest
        );
        self.newest = found.version;
        for (name, may_be) in &mut self.objects {
            let state = found.objects.get(name).copied();
            let known = may_be.iter().any(|it| match (state, it) {
                (Some(state), Some(it)) => state.is(*it),
                (state, it) => state.is_none() && it.is_none(),
            });
            assert!(known, "{name} is {state:?}, and not one of {may_be:?}");
            *may_be = vec![state];
        }
        for (name, (least, most)) in &mut self.counters {
            let value = found.objects[name].value;
            assert!(
                (*least..=*most).contains(&value),
                "{name} is {value}: {least} to {most}"
            );
            (*least, *most) = (value, value);
        }
    }

    /// What writers of objects and counters did while the server lived, and what was watched since
    /// `found`, from the first event to the last whole one.
    pub(super) fn lived(&mut self, lives: Vec<(String, String, Life)>, watched: &[Value]) {
        let log = self.in_order(watched);
        let last = log.last().map_or(0, |it| it.1.version);
        for (name, (known, _)) in &self.counters {
            let values = log.iter().filter(|it| it.0 == *name).map(|it| it.1.value);
            let values: Vec<u64> = std::iter::once(*known).chain(values).collect();
            let steps = values.windows(2).all(|two| two[1] == two[0] + 1);
            assert!(
                steps,
                "a watch of {name} missed or repeated something: {values:?}"
            );
        }
        for (object, counter, life) in lives {
            self.acknowledged += life.deeds.len() + life.increments.len();
            let (least, most) = self.counters.get_mut(&counter).expect("it is known");
            *least += life.increments.len() as u64;
            *most += life.increments.len() as u64 + u64::from(life.incrementing);
            let seen = log.iter().filter(|it| it.0 == counter).map(|it| it.1);
            let seen: Vec<State> = seen.collect();
            for made in &life.increments {
                self.newest = self.newest.max(made.version);
                let shown = made.version > last || seen.contains(made);
                assert!(shown, "nobody has watched {counter} become {made:?}");
            }
            let seen = log.iter().filter(|it| it.0 == object);
            let seen: Vec<_> = seen.map(|it| (it.1, it.2)).collect();
            self.watched_as_done(&object, &life, &seen, last);
        }
        self.watched += log.len();
        self.newest = self.newest.max(last);
    }

    /// The events as name, state and whether it is the last one.
    fn in_order(&self, watched: &[Value]) -> Vec<(String, State, bool)> {
        let mut before = self.newest;
        let event = |event: &Value| {
            let state = State::of(&event["object"]);
            assert!(
                state.version > before,
                "a watch goes back: {event} after {before}"
            );
            before = state.version;
            (name(&event["object"]), state, event["type"] == "DELETED")
        };
        watched.iter().map(event).collect()
    }

    /// A watch has shown the deeds, from the first one on, and nothing else; all of them up to the
    /// last event. What it has shown of what was under way has happened.
    fn watched_as_done(&mut self, name: &str, life: &Life, seen: &[(State, bool)], last: u64) {
        let deeds: Vec<Deed> = life.deeds.iter().chain(&life.open).copied().collect();
        let same = |(deed, seen): (&Deed, &(State, bool))| match deed {
            Deed::Wrote(state) => !seen.1 && seen.0.is(*state),
            Deed::Deleted => seen.1,
        };
        let shown = seen.len() <= deeds.len() && deeds.iter().zip(seen).all(same);
        assert!(shown, "{name}: watched {seen:?} of {deeds:?}");
        for deed in &life.deeds {
            let Deed::Wrote(state) = deed else { continue };
            self.newest = self.newest.max(state.version);
            let watched = state.version > last || seen.iter().any(|it| it.0 == *state);
            assert!(watched, "{name}: nobody has watched {deed:?}");
        }
        let after = |deed: &Deed| match deed {
            Deed::Wrote(state) => Some(*state),
            Deed::Deleted => None,
        };
        let may_be = self
            .objects
            .entry(name.to_owned())
            .or_insert_with(|| vec![None]);
        if let Some(deed) = life.deeds.last() {
            *may_be = vec![after(deed)];
        }
        if let Some(open) = &life.open {
            if seen.len() == deeds.len() {
                may_be.clear();
            }
            may_be.push(after(open));
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acknowledged, watched) = (self.acknowledged, self.watched);
        write!(
            f,
            "{acknowledged} acknowledged writes, {watched} watched events"
        )
    }
}

fn name(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str();
    name.expect("a name").to_owned()
}
