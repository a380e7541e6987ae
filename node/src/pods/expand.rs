//! `$(NAME)` in environment values, commands and arguments.

/// Replaces every `$(NAME)` that `lookup` knows; `$$` is a dollar, unknown names stay as they are.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        rest = match tail.chars().next() {
            Some('$') => {
                out.push('$');
                &tail[1..]
            }
            Some('(') => reference(tail, &lookup, &mut out),
            _ => {
                out.push('$');
                tail
            }
        };
    }
    out.push_str(rest);
    out
}

/// `tail` starts with the parenthesis; returns what follows the reference.
fn reference<'t, 'a>(
    tail: &'t str,
    lookup: &impl Fn(&str) -> Option<&'a str>,
    out: &mut String,
) -> &'t str {
    let Some(end) = tail.find(')') else {
        out.push_str("$(");
        return &tail[1..];
    };
    match lookup(&tail[1..end]) {
        Some(value) => out.push_str(value),
        None => {
            out.push('$');
            out.push_str(&tail[..=end]);
        }
    }
    &tail[end + 1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_escapes_and_leftovers() {
        let lookup = |name: &str| (name == "A").then_some("x");
        for (text, expected) in [
            ("$(A)-$(A)", "x-x"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("cost: 5$", "cost: 5$"),
            ("$A ${A}", "$A ${A}"),
            ("$$$(A)", "$x"),
            ("ü$(A)ü", "üxü"),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
