//! Answers of upstream servers, kept for as long as they allow.
//!
//! Bounded by two generations: new and used entries live in the young one; when it is full it
//! becomes the old one and the former old one is dropped. That is close to least recently used and
//! costs one map insertion, without a list to maintain. Time is an argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;

use crate::answer::Answer;

/// Longest time that an answer is kept, whatever its TTL says.
const MAX_POSITIVE: u32 = 3600;
/// Longest time that "no such name" is kept.
const MAX_NEGATIVE: u32 = 60;
/// How long a failure is kept (RFC 9520 wants at least a second).
const FAILURE: u32 = 1;

/// What distinguishes cached answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    name: Name,
    kind: RecordType,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    /// The key of a question with the client's flags; case does not matter.
    pub fn new(query: &Query, dnssec_ok: bool, checking_disabled: bool) -> Self {
        Self {
            name: query.name().to_lowercase(),
            kind: query.query_type(),
            dnssec_ok,
            checking_disabled,
        }
    }
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    stored: Instant,
    ttl: u32,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Arc<Entry>>,
    old: HashMap<Key, Arc<Entry>>,
}

/// The cache. Cheap to share; every operation holds its lock for one map access.
#[derive(Debug)]
pub struct Cache {
    generations: Mutex<Generations>,
    /// Entries in one generation.
    half: usize,
}

impl Cache {
    /// A cache for at most `capacity` answers (at least two).
    pub fn new(capacity: usize) -> Self {
        Self {
            generations: Mutex::default(),
            half: (capacity / 2).max(1),
        }
    }

    /// The answer to a question, with TTLs that count down, if one is still good at `now`.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Answer> {
        let entry = self.entry(key)?;
        let age = now.saturating_duration_since(entry.stored);
        if age >= Duration::from_secs(u64::from(entry.ttl)) {
            return None;
        }
        Some(aged(&entry.answer, age.as_secs() as u32))
    }

    fn entry(&self, key: &Key) -> Option<Arc<Entry>> {
        let mut generations = self.generations.lock();
        if let Some(entry) = generations.young.get(key) {
            return Some(entry.clone());
        }
        let (key, entry) = generations.old.remove_entry(key)?;
        self.insert(&mut generations, key, entry.clone());
        Some(entry)
    }

    /// Keeps an answer from `now` on, if it may be kept at all.
    pub fn put(&self, key: Key, answer: Answer, now: Instant) {
        let ttl = time_to_live(&answer);
        if ttl > 0 {
            let entry = Arc::new(Entry {
                answer,
                stored: now,
                ttl,
            });
            self.insert(&mut self.generations.lock(), key, entry);
        }
    }

    fn insert(&self, generations: &mut Generations, key: Key, entry: Arc<Entry>) {
        if generations.young.len() >= self.half {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, entry);
    }

    /// Answers held now, good or expired.
    pub fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Seconds for which an answer may be kept; 0 for not at all.
pub fn time_to_live(answer: &Answer) -> u32 {
    match answer.code {
        ResponseCode::NoError if !answer.answers.is_empty() => {
            let sections = answer
                .answers
                .iter()
                .chain(&answer.authorities)
                .chain(&answer.additionals);
            sections
                .map(|record| record.ttl)
                .min()
                .unwrap_or(0)
                .min(MAX_POSITIVE)
        }
        ResponseCode::NoError | ResponseCode::NXDomain => negative(answer).min(MAX_NEGATIVE),
        _ => FAILURE,
    }
}

/// TTL of a negative answer: the smaller of the SOA's own and its minimum (RFC 2308, 5).
fn negative(answer: &Answer) -> u32 {
    let of_soa = |record: &Record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    };
    answer.authorities.iter().find_map(of_soa).unwrap_or(0)
}

fn aged(answer: &Answer, age: u32) -> Answer {
    let mut answer = answer.clone();
    let sections = [
        &mut answer.answers,
        &mut answer.authorities,
        &mut answer.additionals,
    ];
    for record in sections.into_iter().flatten() {
        record.ttl = record.ttl.saturating_sub(age);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{A, SOA};

    fn query(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn positive(ttl: u32) -> Answer {
        let name = Name::from_ascii("a.example.").unwrap();
        let record = Record::from_rdata(name, ttl, RData::A(A::new(192, 0, 2, 1)));
        Answer {
            answers: vec![record],
            ..Answer::remote(ResponseCode::NoError)
        }
    }

    fn negative_answer(ttl: u32, minimum: u32) -> Answer {
        let name = Name::from_ascii("example.").unwrap();
        let soa = SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, minimum);
        let record = Record::from_rdata(name, ttl, RData::SOA(soa));
        Answer {
            authorities: vec![record],
            ..Answer::remote(ResponseCode::NXDomain)
        }
    }

    #[test]
    fn an_answer_ages_and_expires() {
        let (cache, start) = (Cache::new(10), Instant::now());
        let key = Key::new(&query("A.example."), false, false);
        cache.put(key, positive(10), start);
        let key = Key::new(&query("a.EXAMPLE."), false, false);
        let aged = cache.get(&key, start + Duration::from_secs(4)).unwrap();
        assert_eq!(aged.answers[0].ttl, 6);
        assert!(cache.get(&key, start + Duration::from_secs(10)).is_none());
    }

    #[test]
    fn flags_and_types_do_not_mix() {
        let (cache, start) = (Cache::new(10), Instant::now());
        cache.put(
            Key::new(&query("a.example."), false, false),
            positive(10),
            start,
        );
        assert!(
            cache
                .get(&Key::new(&query("a.example."), true, false), start)
                .is_none()
        );
        let other = Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::AAAA);
        assert!(cache.get(&Key::new(&other, false, false), start).is_none());
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let (cache, start) = (Cache::new(100), Instant::now());
        for number in 0..1000 {
            cache.put(
                Key::new(&query(&format!("n{number}.example.")), false, false),
                positive(10),
                start,
            );
        }
        assert!(cache.len() <= 100, "{}", cache.len());
        assert!(
            cache
                .get(&Key::new(&query("n999.example."), false, false), start)
                .is_some()
        );
    }

    #[test]
    fn an_entry_in_use_survives_a_flood() {
        let (cache, start) = (Cache::new(100), Instant::now());
        let kept = Key::new(&query("kept.example."), false, false);
        cache.put(kept.clone(), positive(10), start);
        for number in 0..1000 {
            cache.put(
                Key::new(&query(&format!("n{number}.example.")), false, false),
                positive(10),
                start,
            );
            assert!(cache.get(&kept, start).is_some(), "lost after {number}");
        }
    }

    #[test]
    fn negative_answers_live_as_their_soa_says() {
        assert_eq!(time_to_live(&negative_answer(30, 7)), 7);
        assert_eq!(time_to_live(&negative_answer(5, 900)), 5);
        assert_eq!(time_to_live(&negative_answer(900, 900)), MAX_NEGATIVE);
        assert_eq!(time_to_live(&Answer::remote(ResponseCode::NXDomain)), 0);
        assert_eq!(
            time_to_live(&Answer::remote(ResponseCode::ServFail)),
            FAILURE
        );
        assert_eq!(time_to_live(&positive(1_000_000)), MAX_POSITIVE);
    }
}
