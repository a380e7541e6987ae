//! Label and field selectors, in the text form of the query string.

use super::status::{Result, Status};
use crate::store::Selectable;

/// A conjunction of requirements on labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LabelSelector(Vec<LabelRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelRequirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    ///
    /// # Errors
    /// 400 naming the text that is no requirement.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let requirements = split_outside_parentheses(text).into_iter().map(requirement);
        requirements.collect::<Result<_>>().map(Self)
    }

    /// Whether the labels satisfy every requirement.
    pub(super) fn matches(&self, selectable: &Selectable) -> bool {
        self.0
            .iter()
            .all(|requirement| requirement.test.accepts(selectable.label(&requirement.key)))
    }
}

impl Test {
    fn accepts(&self, label: Option<&str>) -> bool {
        let number = || label.and_then(|label| label.parse::<i64>().ok());
        match self {
            Self::Exists => label.is_some(),
            Self::Absent => label.is_none(),
            Self::In(values) => {
                label.is_some_and(|label| values.iter().any(|value| value == label))
            }
            Self::NotIn(values) => {
                label.is_none_or(|label| values.iter().all(|value| value != label))
            }
            Self::Greater(bound) => number().is_some_and(|number| number > *bound),
            Self::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn requirement(text: &str) -> Result<LabelRequirement> {
    let bad = || Status::bad_request(format!("unable to parse requirement: {text:?}"));
    let (key, test) = split_requirement(text).ok_or_else(bad)?;
    let key = key.trim();
    if key.is_empty() || !key.chars().all(is_label_character) {
        return Err(bad());
    }
    if let Test::In(values) | Test::NotIn(values) = &test
        && !values
            .iter()
            .all(|value| value.chars().all(is_label_character))
    {
        return Err(bad());
    }
    Ok(LabelRequirement {
        key: key.to_owned(),
        test,
    })
}

fn split_requirement(text: &str) -> Option<(&str, Test)> {
    if let Some((key, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let (key, operator) = key.trim().rsplit_once(char::is_whitespace)?;
        let values = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        return match operator {
            "in" => Some((key, Test::In(values))),
            "notin" => Some((key, Test::NotIn(values))),
            _ => None,
        };
    }
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = text.split_once("!=") {
        return Some((key, Test::NotIn(one(value))));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some((key, Test::In(one(value))));
    }
    if let Some((key, value)) = text.split_once('>') {
        return Some((key, Test::Greater(value.trim().parse().ok()?)));
    }
    if let Some((key, value)) = text.split_once('<') {
        return Some((key, Test::Less(value.trim().parse().ok()?)));
    }
    Some(match text.strip_prefix('!') {
        Some(key) => (key, Test::Absent),
        None => (text, Test::Exists),
    })
}

fn is_label_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '/')
}

/// A conjunction of equalities on fields, resolved against a kind's selectable fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSelector(Vec<FieldRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    Indexed(usize),
}

impl FieldSelector {
    /// Parses `a=b,c!=d,e==f` with backslash escapes; `labels` are the kind's own selectable fields.
    ///
    /// # Errors
    /// 400 for a malformed text and for a field that the kind cannot select by.
    pub(super) fn parse(text: &str, labels: &[&str]) -> Result<Self> {
        let parts = split_unescaped(text);
        let parts = parts
            .iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty());
        parts
            .map(|part| field_requirement(part, labels))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether the object under `key` satisfies every requirement.
    pub(super) fn matches(&self, key: &str, selectable: &Selectable) -> bool {
        self.0
            .iter()
            .all(|requirement| requirement.accepts(key, selectable))
    }

    /// The name that the selector pins down, if it does.
    pub(super) fn name(&self) -> Option<&str> {
        let pinned =
            |requirement: &&FieldRequirement| requirement.field == Field::Name && requirement.equal;
        self.0
            .iter()
            .find(pinned)
            .map(|requirement| requirement.value.as_str())
    }
}

impl FieldRequirement {
    fn accepts(&self, key: &str, selectable: &Selectable) -> bool {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let have = match self.field {
            Field::Name => name,
            Field::Namespace => namespace,
            Field::Indexed(index) => selectable.fields.get(index).map_or("", AsRef::as_ref),
        };
        (have == self.value) == self.equal
    }
}

fn field_requirement(text: &str, labels: &[&str]) -> Result<FieldRequirement> {
    let (key, value, equal) = if let Some((key, value)) = text.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, value, true)
    } else {
        return Err(Status::bad_request(format!(
            "invalid selector: {text:?}; can't understand {text:?}"
        )));
    };
    let field = match key {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        other => labels
            .iter()
            .position(|label| *label == other)
            .map(Field::Indexed)
            .ok_or_else(|| Status::bad_request(format!("field label not supported: {other}")))?,
    };
    Ok(FieldRequirement {
        field,
        value: unescape(value),
        equal,
    })
}

fn split_unescaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        if character == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = character == '\\' && !escaped;
        parts.last_mut().expect("never empty").push(character);
    }
    parts
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut escaped = false;
    for character in value.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(character);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Selectable {
        let mut labels: Vec<_> = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        labels.sort();
        Selectable {
            labels: labels.into(),
            fields: [].into(),
        }
    }

    #[test]
    fn label_requirements_hold_as_documented() {
        let object = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
        let holds = |text: &str| LabelSelector::parse(text).unwrap().matches(&object);
        for text in [
            "",
            "app=web",
            "app==web",
            "app!=api",
            "other!=x",
            "app in (web, api)",
            "tier",
            "!other",
            "other notin (a)",
            "app=web,tier=front",
            "n>4",
            "n<6",
            "other notin (a,b),app",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "app=api",
            "!app",
            "other",
            "app notin (web)",
            "n>5",
            "app=web,tier=back",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn malformed_label_selectors_are_refused() {
        for text in [
            "a b",
            "a in b",
            "=x",
            "a=b=c",
            "a within (b)",
            "n>x",
            "a=(b",
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_know_name_namespace_and_the_kinds_own() {
        let fields = &["spec.nodeName"];
        let object = Selectable {
            labels: [].into(),
            fields: ["n1".into()].into(),
        };
        let holds = |text: &str| {
            FieldSelector::parse(text, fields)
                .unwrap()
                .matches("shop/web", &object)
        };
        assert!(holds(
            "metadata.name=web,metadata.namespace==shop,spec.nodeName=n1"
        ));
        assert!(holds("spec.nodeName!=n2"));
        assert!(!holds("spec.nodeName="));
        assert!(FieldSelector::parse("spec.color=red", fields).is_err());
        assert_eq!(
            FieldSelector::parse("metadata.name=web", fields)
                .unwrap()
                .name(),
            Some("web")
        );
    }
}
