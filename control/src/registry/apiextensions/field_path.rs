//! Paths from a rule in CEL to the field that it is about, such as `.spec['max']`.

use serde_json::Value;

/// Whether a path leads to a field that the schema has.
pub(super) fn leads_somewhere(path: &str, schema: &Value) -> bool {
    let Some(names) = names(path) else {
        return false;
    };
    let mut names = names.iter();
    names
        .try_fold(schema, |schema, name| match schema.get("properties") {
            Some(properties) => properties.get(name),
            None => schema.get("additionalProperties"),
        })
        .is_some()
}

/// The names in a path; none if it has not the form of one.
fn names(path: &str) -> Option<Vec<String>> {
    let (mut names, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("['") {
            let end = quoted.find("']")?;
            names.push(quoted[..end].replace("\\'", "'"));
            rest = &quoted[end + 2..];
        } else {
            let named = rest.strip_prefix('.')?;
            let end = named.find(['.', '[']).unwrap_or(named.len());
            names.push(named[..end].to_owned());
            rest = &named[end..];
        }
    }
    (!names.iter().any(String::is_empty)).then_some(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_through_properties_and_maps() {
        let schema = json!({"properties": {"a": {"properties": {"b.c": {}}},
            "m": {"additionalProperties": {"type": "string"}}, "l": {"items": {}}}});
        for good in [".a", ".a['b.c']", ".m.any", ".m['any']", "['a']"] {
            assert!(leads_somewhere(good, &schema), "{good}");
        }
        for bad in [
            "a", ".x", ".a.b.c", ".a[0]", ".l[0]", ".", ".a['b.c'", ".a..b",
        ] {
            assert!(!leads_somewhere(bad, &schema), "{bad}");
        }
    }
}
