//! Changes to an input: small ones that stay close to what is right, and gross ones.

use crate::pool::Pool;

/// No input grows longer.
const MOST: usize = 64 << 10;

/// Numbers at which arithmetic breaks, as texts.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e400",
    "-0.0",
    "127",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1e-320",
];

/// Bytes at which something ends or begins.
const BYTES: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'{', b'/', b'\n'];

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.get(self.below(things.len()))
    }
}

/// `input` after one to five changes.
pub(crate) fn mutated(input: &[u8], pool: &Pool, words: &[&str], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=chance.below(5) {
        change(&mut bytes, pool, words, chance);
        bytes.truncate(MOST);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, pool: &Pool, words: &[&str], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    match chance.below(10) {
        0 => flip(bytes, at, chance),
        1 => set(bytes, at, chance),
        2 => drop(bytes.drain(piece(bytes, at, chance))),
        3 => repeat(bytes, at, chance),
        4 => put(bytes, at, word(words, chance)),
        5 => put(bytes, at, &[chance.below(256) as u8]),
        6 => renumber(bytes, at, chance),
        7 => replace_word(bytes, at, word(words, chance)),
        8 => move_piece(bytes, at, chance),
        _ => cross(bytes, at, pool, chance),
    }
}

fn word<'a>(words: &[&'a str], chance: &mut Chance) -> &'a [u8] {
    chance.one_of(words).map_or(b"", |word| word.as_bytes())
}

fn put(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}

/// A range of `bytes` from `at` on, short ones more often.
fn piece(bytes: &[u8], at: usize, chance: &mut Chance) -> std::ops::Range<usize> {
    let most = [4, 16, 64, 4096][chance.below(4)];
    at..bytes.len().min(at + 1 + chance.below(most))
}

fn flip(bytes: &mut [u8], at: usize, chance: &mut Chance) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance.below(8);
    }
}

fn set(bytes: &mut [u8], at: usize, chance: &mut Chance) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = BYTES[chance.below(BYTES.len())];
    }
}

/// A piece several times in a row, up to thousands of times: deep nesting comes of this.
fn repeat(bytes: &mut Vec<u8>, at: usize, chance: &mut Chance) {
    let piece = bytes[piece(bytes, at, chance)].to_vec();
    let most = [2, 8, 200, 20_000][chance.below(4)];
    let times = (1 + chance.below(most)).min(MOST / piece.len().max(1));
    put(bytes, at, &piece.repeat(times));
}

/// The digits that stand next, replaced by others.
fn renumber(bytes: &mut Vec<u8>, at: usize, chance: &mut Chance) {
    let rest = &bytes[at..];
    let Some(first) = rest.iter().position(u8::is_ascii_digit) else {
        return;
    };
    let digits = rest[first..].iter().take_while(|b| b.is_ascii_digit());
    let range = at + first..at + first + digits.count();
    let number = NUMBERS[chance.below(NUMBERS.len())];
    bytes.splice(range, number.bytes());
}

/// The word that stands next, replaced by another.
fn replace_word(bytes: &mut Vec<u8>, at: usize, by: &[u8]) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric();
    let rest = &bytes[at..];
    let Some(first) = rest.iter().position(is_word) else {
        return;
    };
    let long = rest[first..].iter().take_while(|b| is_word(b)).count();
    bytes.splice(at + first..at + first + long, by.iter().copied());
}

fn move_piece(bytes: &mut Vec<u8>, at: usize, chance: &mut Chance) {
    let range = piece(bytes, at, chance);
    let piece: Vec<u8> = bytes.drain(range).collect();
    let to = chance.below(bytes.len() + 1);
    put(bytes, to, &piece);
}

/// A piece of another input.
fn cross(bytes: &mut Vec<u8>, at: usize, pool: &Pool, chance: &mut Chance) {
    let other = pool.any(chance);
    let from = chance.below(other.len() + 1);
    let range = piece(other, from, chance);
    let replaced = piece(bytes, at, chance);
    bytes.splice(replaced, other[range].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_none_is_too_long() {
        let pool = Pool::new(vec![b"{\"a\": [1, 2]}".to_vec(), b"name=web".to_vec()]);
        let all = |seed| {
            let mut chance = Chance::new(seed);
            let mut input = pool.any(&mut chance).to_vec();
            let inputs = std::iter::repeat_with(|| {
                input = mutated(&input, &pool, &["null"], &mut chance);
                input.clone()
            });
            inputs.take(2_000).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(3).iter().all(|input| input.len() <= MOST));
    }

    #[test]
    fn numbers_and_words_are_replaced_as_a_whole() {
        let mut chance = Chance::new(5);
        let mut bytes = b"limit=500&x".to_vec();
        renumber(&mut bytes, 0, &mut chance);
        let text = String::from_utf8(bytes).expect("a text");
        let number = text
            .strip_prefix("limit=")
            .and_then(|it| it.strip_suffix("&x"));
        assert!(NUMBERS.contains(&number.expect("only the number is another")));
        let mut bytes = b"{\"kind\": 1}".to_vec();
        replace_word(&mut bytes, 0, b"null");
        assert_eq!(bytes, b"{\"null\": 1}");
    }
}
