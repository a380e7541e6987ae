//! Every target, with as many inputs as every run of the tests can afford.
//!
//! The inputs are the same each time, so that what fails has a cause in the change at hand;
//! `cargo xtask fuzz --seed N` looks elsewhere.

use naru_fuzz::{Hunt, NAMES, Target, hunt, open};

/// Inputs for each target, beside its examples.
const RUNS: u64 = 4_000;

fn bounded(name: &str, fewest: usize) {
    assert!(NAMES.contains(&name));
    let target = open(name).expect("the target opens");
    let dir = tempfile::tempdir().expect("a directory");
    let how = Hunt {
        name,
        runs: RUNS,
        seed: 1,
        dir: dir.path(),
    };
    let found = match hunt(target.as_ref(), &how) {
        Ok(found) => found,
        Err(why) => panic!("{why}"),
    };
    println!("{name}: {} inputs, {} answers", found.inputs, found.answers);
    // Inputs that all end at the first check would show nothing.
    assert!(found.answers >= fewest, "only {} answers", found.answers);
}

#[test]
fn objects_of_any_bytes_are_taken_or_refused() {
    bounded("objects", 60);
}

#[test]
fn patches_of_any_bytes_are_taken_or_refused() {
    bounded("patches", 40);
}

#[test]
fn paths_and_queries_of_any_bytes_are_answered() {
    bounded("queries", 20);
}

#[test]
fn expressions_of_any_bytes_are_compiled_or_refused() {
    bounded("expressions", 60);
}

#[test]
fn definitions_of_any_bytes_are_taken_or_refused() {
    bounded("definitions", 60);
}

#[test]
fn headers_of_any_bytes_are_understood_or_refused() {
    bounded("headers", 15);
}

#[test]
fn strangers_with_any_proof_are_refused() {
    bounded("strangers", 3);
}

#[test]
fn frames_of_any_bytes_get_a_verdict_and_always_the_same() {
    bounded("packets", 100);
}

#[test]
fn dns_messages_of_any_bytes_get_a_good_reply_or_none() {
    bounded("names", 20);
}

#[test]
fn network_configurations_of_any_bytes_are_read_or_refused() {
    bounded("attachments", 6);
}

#[test]
fn what_neighbours_say_is_understood_or_ignored() {
    bounded("neighbours", 8);
}

/// A parser that believes what it reads.
struct Careless;

impl Target for Careless {
    fn examples(&self) -> Vec<Vec<u8>> {
        vec![b"3 abc".to_vec()]
    }

    fn words(&self) -> &[&str] {
        &[" "]
    }

    fn read(&self, input: &[u8]) -> Result<u64, String> {
        let text = String::from_utf8_lossy(input);
        let Some((long, rest)) = text.split_once(' ') else {
            return Ok(0);
        };
        let long: usize = long.parse().unwrap_or_default();
        Ok(u64::from(rest.as_bytes()[..long].is_empty()))
    }
}

#[test]
fn a_careless_parser_is_caught_and_its_input_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let how = Hunt {
        name: "careless",
        runs: RUNS,
        seed: 1,
        dir: dir.path(),
    };
    let why = hunt(&Careless, &how).expect_err("it is caught");
    assert!(why.contains("out of range"), "{why}");
    let input = std::fs::read(dir.path().join("careless.input")).expect("the input is kept");
    let text = String::from_utf8_lossy(&input);
    let (long, rest) = text.split_once(' ').expect("two words");
    let long: usize = long.parse().expect("a number");
    assert!(long > rest.len(), "{text:?} would have been read well");
}
