//! Inputs worth changing: the examples, and what was answered in a way not seen before.

use foldhash::{HashSet, HashSetExt};

use crate::mutate::Chance;

/// Inputs that are kept beside the examples.
const MOST: usize = 4_000;
/// Longer ones are not: they make everything after them slow.
const LONG: usize = 4 << 10;

pub(crate) struct Pool {
    inputs: Vec<Vec<u8>>,
    examples: usize,
    seen: HashSet<u64>,
}

impl Pool {
    pub(crate) fn new(examples: Vec<Vec<u8>>) -> Self {
        Self {
            examples: examples.len(),
            inputs: examples,
            seen: HashSet::new(),
        }
    }

    /// Takes note of an answer, and of its input if the answer is new.
    pub(crate) fn learn(&mut self, input: &[u8], answer: u64) {
        if self.seen.insert(answer) && input.len() <= LONG && self.inputs.len() < MOST {
            self.inputs.push(input.to_vec());
        }
    }

    /// Answers seen so far.
    pub(crate) fn answers(&self) -> usize {
        self.seen.len()
    }

    /// One to begin with; an example as often as one that was found.
    pub(crate) fn any(&self, chance: &mut Chance) -> &[u8] {
        let all = [self.examples, self.inputs.len()][chance.below(2)];
        self.inputs
            .get(chance.below(all))
            .map_or(b"", Vec::as_slice)
    }
}
