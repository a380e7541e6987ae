//! The functions and operators of expressions, with their types (`functions.table`).
//!
//! A line is an overload: `name(arguments) result`, or `target.name(arguments) result` if it is
//! called on a value. A capital letter stands for any one type, from `T` on for one that has an
//! order. What is listed is what Kubernetes has and the evaluator runs, no more.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::types::Type;

static TABLE: LazyLock<HashMap<&str, Vec<Overload>>> =
    LazyLock::new(|| parse(include_str!("functions.table")));

/// Functions whose names have a point in them; what stands before it is no value.
const PREFIXES: &[&str] = &[
    "format",
    "ip",
    "jsonpatch",
    "lists",
    "optional",
    "sets",
    "strings",
];

/// One way to call a function.
struct Overload {
    on_value: bool,
    /// The types of the value that it is called on, if any, and of the arguments.
    wants: Vec<Type>,
    makes: Type,
}

/// Types that letters stand for.
type Letters = [Option<Type>; 26];

/// The function that `prefix.name` is, if it is one.
pub(super) fn qualified(prefix: &str, name: &str) -> Option<String> {
    let full = format!("{prefix}.{name}");
    (PREFIXES.contains(&prefix) && TABLE.contains_key(full.as_str())).then_some(full)
}

/// Whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    TABLE.contains_key(name)
}

/// What a function makes of `given`, the first of which it is called on if `on_value`; none if it
/// cannot be called so.
pub(super) fn result(name: &str, on_value: bool, given: &[Type]) -> Option<Type> {
    let overloads = TABLE.get(name)?.iter();
    let fitting = overloads.filter(|it| it.on_value == on_value && it.wants.len() == given.len());
    let mut results = fitting.filter_map(|overload| overload.applied(given));
    let first = results.next()?;
    Some(results.fold(first, |one, other| {
        if one == other {
            one
        } else {
            mixed(&one, &other)
        }
    }))
}

/// The type of what is one or the other, where nothing tells which.
fn mixed(one: &Type, other: &Type) -> Type {
    match (one, other) {
        (Type::Open, _) | (_, Type::Open) => Type::Open,
        (Type::Optional(one), Type::Optional(other)) => Type::optional(mixed(one, other)),
        (one, other) if one == other => one.clone(),
        _ => Type::Dyn,
    }
}

impl Overload {
    fn applied(&self, given: &[Type]) -> Option<Type> {
        let mut letters: Letters = Default::default();
        let mut pairs = self.wants.iter().zip(given);
        pairs
            .all(|(wanted, given)| fits(wanted, given, &mut letters))
            .then(|| filled(&self.makes, &letters))
    }
}

/// Whether a value of a type fits, with what letters stand for so far.
fn fits(wanted: &Type, given: &Type, letters: &mut Letters) -> bool {
    match (wanted, given) {
        (Type::Param(letter), given) => {
            let ordered = *letter < b'T' || has_order(given);
            let stands = &mut letters[usize::from(letter - b'A')];
            match stands {
                Some(one) if !one.goes_with(given) => false,
                Some(one) => {
                    *one = one.join(given);
                    true
                }
                None => {
                    *stands = Some(given.clone());
                    ordered
                }
            }
        }
        (_, given) if given.is_any() => true,
        (Type::List(wanted), Type::List(given))
        | (Type::Optional(wanted), Type::Optional(given)) => fits(wanted, given, letters),
        (Type::Map(key, value), Type::Map(given_key, given_value)) => {
            fits(key, given_key, letters) && fits(value, given_value, letters)
        }
        (Type::List(_) | Type::Map(..), _) => false,
        (wanted, given) => wanted.goes_with(given),
    }
}

fn has_order(given: &Type) -> bool {
    let unordered = matches!(
        given,
        Type::Null
            | Type::Kind
            | Type::List(_)
            | Type::Map(..)
            | Type::Optional(_)
            | Type::Object(_)
            | Type::Opaque(_)
    );
    !unordered
}

/// A type with what its letters stand for.
fn filled(makes: &Type, letters: &Letters) -> Type {
    match makes {
        Type::Param(letter) => {
            let stands = letters[usize::from(letter - b'A')].clone();
            stands.unwrap_or(Type::Open)
        }
        Type::List(of) => Type::list(filled(of, letters)),
        Type::Optional(of) => Type::optional(filled(of, letters)),
        Type::Map(key, value) => Type::map(filled(key, letters), filled(value, letters)),
        other => other.clone(),
    }
}

fn parse(table: &'static str) -> HashMap<&'static str, Vec<Overload>> {
    let mut functions: HashMap<&str, Vec<Overload>> = HashMap::new();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    for line in lines.filter(|line| !line.is_empty()) {
        let (called, rest) = line.split_once('(').expect("a line has arguments");
        let (arguments, makes) = rest.split_once(") ").expect("a line has a result");
        let prefix = called.rsplit_once('.');
        let on = prefix.filter(|(prefix, _)| !PREFIXES.contains(prefix));
        let mut wants: Vec<Type> = on.iter().map(|(on, _)| read(on)).collect();
        wants.extend(split(arguments).into_iter().map(read));
        let overload = Overload {
            on_value: on.is_some(),
            wants,
            makes: read(makes),
        };
        let name = on.map_or(called, |(_, name)| name);
        functions.entry(name).or_default().push(overload);
    }
    functions
}

/// The parts of a list, whose own lists are within angle brackets.
fn split(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// A type as the table writes it.
fn read(text: &str) -> Type {
    if let Some((outer, inner)) = text.split_once('<') {
        let inner = inner.strip_suffix('>').expect("brackets end");
        let mut parts = split(inner).into_iter().map(read);
        let mut next = || parts.next().expect("a type has its parts");
        return match outer {
            "list" => Type::list(next()),
            "optional" => Type::optional(next()),
            "map" => Type::map(next(), next()),
            other => unreachable!("no type has parts but lists, maps and optionals: {other}"),
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Kind,
        name => match name.as_bytes() {
            [letter @ b'A'..=b'Z'] => Type::Param(*letter),
            _ => Type::Opaque(Arc::from(name)),
        },
    }
}
