//! Where in an expression something is wrong, and how that is told: as cel-go tells it, with the
//! line and a mark below.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_cel::cel::common::ast::SourceInfo;
use kube_cel::cel::parser::{ParseErrors, Parser};

use crate::cel::signs::without_pairs;

/// Faults that are told, at most.
const MAX_TOLD: usize = 20;
/// Levels of an expression within each other, at most.
const MAX_DEPTH: u16 = 96;

/// A fault of a part of an expression, by the part's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) part: u64,
    pub(crate) why: String,
}

/// Tells every fault of a text that can be parsed, in the order of their places.
pub(crate) fn told(text: &str, faults: &[Fault]) -> String {
    let info = places(text);
    let place = |part: u64| {
        let (start, _) = info.as_ref()?.offset_for(part)?;
        Some(line_and_column(text, usize::try_from(start).ok()?))
    };
    let mut all: Vec<_> = faults
        .iter()
        .map(|fault| (place(fault.part).unwrap_or((1, 0)), fault.why.as_str()))
        .collect();
    all.sort_by_key(|(place, _)| *place);
    all.dedup();
    let all = all.iter().take(MAX_TOLD);
    let all: Vec<_> = all.map(|(at, why)| line(text, *at, why)).collect();
    all.join("\n")
}

/// Tells why a text cannot be parsed.
pub(crate) fn unparsed(text: &str, errors: &ParseErrors) -> String {
    let place = |(line, column): (isize, isize)| {
        let line = usize::try_from(line).unwrap_or_default().max(1);
        (line, usize::try_from(column - 1).unwrap_or_default())
    };
    let all = errors.errors.iter().take(MAX_TOLD);
    let all: Vec<_> = all
        .map(|error| line(text, place(error.pos), &error.msg))
        .collect();
    all.join("\n")
}

/// Parses a text.
///
/// # Errors
/// What the parser says; none if it gave up.
pub(crate) fn parse(text: &str) -> Result<kube_cel::cel::IdedExpr, Option<ParseErrors>> {
    let parser = Parser::new()
        .enable_optional_syntax(true)
        .max_recursion_depth(MAX_DEPTH);
    let text = without_pairs(text);
    match catch_unwind(AssertUnwindSafe(|| parser.parse(&text))) {
        Ok(parsed) => parsed.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Where the parts of a text stand. The parser keeps that for the sake of its errors and tells it
/// with none but these; so it is given one that it gets over, a bracket too many.
fn places(text: &str) -> Option<Arc<SourceInfo>> {
    let errors = parse(&format!("{text}\n)")).err()??;
    errors
        .errors
        .into_iter()
        .find_map(|error| error.source_info)
}

/// The line from one on, and the letters before a place in it, which is `offset` bytes in.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.chars().rev().take_while(|letter| *letter != '\n');
    (line + 1, column.count())
}

fn line(text: &str, (line, column): (usize, usize), why: &str) -> String {
    let head = format!("ERROR: <input>:{line}:{}: {why}", column + 1);
    match text.lines().nth(line - 1) {
        Some(shown) => {
            let shown = shown.replace('\t', " ");
            format!("{head}\n | {shown}\n | {}^", ".".repeat(column))
        }
        None => head,
    }
}
