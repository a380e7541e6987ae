//! The part of JSONPath that printer columns use: members, indexes, `*`, and equality filters.

use serde_json::Value;

/// A parsed path; one that cannot be read finds nothing.
pub(super) struct JsonPath(Option<Vec<Step>>);

enum Step {
    Member(String),
    Index(i64),
    All,
    /// Elements whose member behind these names is that value.
    Where(Vec<String>, Value),
}

impl JsonPath {
    /// Reads `.spec.list[0].a`, `.a['b.c']`, `.a[*].b`, `.a[?(@.type=="X")].b`.
    pub(super) fn parse(path: &str) -> JsonPath {
        JsonPath(steps(
            path.trim_start_matches('{')
                .trim_end_matches('}')
                .trim_start_matches('$'),
        ))
    }

    /// Everything that the path leads to.
    pub(super) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let Some(steps) = &self.0 else {
            return Vec::new();
        };
        steps.iter().fold(vec![value], |found, step| {
            found.into_iter().flat_map(|value| step.of(value)).collect()
        })
    }
}

impl Step {
    fn of<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let items = || value.as_array().into_iter().flatten();
        match self {
            Step::Member(name) => value.get(name).into_iter().collect(),
            Step::Index(index) => {
                let length = value.as_array().map_or(0, Vec::len) as i64;
                let index = if *index < 0 { length + index } else { *index };
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                value.get(index).into_iter().collect()
            }
            Step::All => match value {
                Value::Object(members) => members.values().collect(),
                _ => items().collect(),
            },
            Step::Where(names, wanted) => {
                let is_wanted = |item: &&Value| {
                    let mut names = names.iter();
                    names.try_fold(*item, |at, name| at.get(name)) == Some(wanted)
                };
                items().filter(is_wanted).collect()
            }
        }
    }
}

fn steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (name, after) = name(after);
            if name.is_empty() {
                return None;
            }
            steps.push(if name == "*" {
                Step::All
            } else {
                Step::Member(name)
            });
            rest = after;
        } else {
            let end = closing(rest)?;
            steps.push(bracket(&rest[1..end])?);
            rest = &rest[end + 1..];
        }
    }
    Some(steps)
}

/// A name up to the next `.` or `[`; a backslash keeps what follows.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket that opens the text closes.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = None;
    let mut chars = text.char_indices();
    if chars.next()?.1 != '[' {
        return None;
    }
    for (at, c) in chars {
        match (quoted, c) {
            (None, '\'' | '"') => quoted = Some(c),
            (Some(quote), c) if c == quote => quoted = None,
            (None, ']') => return Some(at),
            _ => {}
        }
    }
    None
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inside
        .strip_prefix("?(@")
        .and_then(|it| it.strip_suffix(')'))
    {
        let (path, value) = filter.split_once("==")?;
        let names = path.trim().split('.').filter(|name| !name.is_empty());
        return Some(Step::Where(
            names.map(str::to_owned).collect(),
            literal(value.trim())?,
        ));
    }
    if inside.starts_with(['\'', '"']) {
        return literal(inside)?
            .as_str()
            .map(|name| Step::Member(name.to_owned()));
    }
    inside.parse().ok().map(Step::Index)
}

fn literal(text: &str) -> Option<Value> {
    if let Some(inner) = text.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
        return Some(inner.into());
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let value = json!({"a": {"b.c": 1, "list": [{"t": "x", "v": 1}, {"t": "y", "v": 2}]}});
        let find = |path: &str| {
            JsonPath::parse(path)
                .find(&value)
                .into_iter()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(find(".a.list[0].v"), [json!(1)]);
        assert_eq!(find(".a.list[-1].v"), [json!(2)]);
        assert_eq!(find(".a.list[*].t"), [json!("x"), json!("y")]);
        assert_eq!(find(".a.list[?(@.t=='y')].v"), [json!(2)]);
        assert_eq!(find(".a['b.c']"), [json!(1)]);
        assert_eq!(find(r".a.b\.c"), [json!(1)]);
        for nowhere in ["", "..", ".a[", ".a[x]", ".none.x", ".a.list[9]"] {
            assert!(nowhere.is_empty() || find(nowhere).is_empty(), "{nowhere}");
        }
    }
}
