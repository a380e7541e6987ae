//! The columns of a custom kind's table: `additionalPrinterColumns`, or the age.

use serde_json::{Value, json};

use super::json_path::JsonPath;
use super::leak;
use crate::registry::age::since;
use crate::registry::column::{NAME, name};
use crate::registry::kind::Column;
use crate::registry::value::{int, list, text};

/// Columns after the name.
pub(super) struct Columns(Vec<Printed>);

struct Printed {
    column: Column,
    path: JsonPath,
}

impl Columns {
    pub(super) fn of(version: &Value) -> Columns {
        let age = [json!({"name": "Age", "type": "date",
            "jsonPath": ".metadata.creationTimestamp"})];
        let said = list(version, "/additionalPrinterColumns");
        let said = if said.is_empty() { &age[..] } else { said };
        Columns(said.iter().map(Printed::of).collect())
    }

    pub(super) fn definitions(&self) -> &'static [Column] {
        let own = std::iter::once(NAME);
        let more = self.0.iter().map(|printed| printed.column);
        Vec::leak(own.chain(more).collect())
    }

    pub(super) fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        let more = self.0.iter().map(|printed| printed.cell(object, now));
        std::iter::once(name(object)).chain(more).collect()
    }
}

impl Printed {
    fn of(column: &Value) -> Printed {
        let of = |key: &str| leak(text(column, key));
        Printed {
            column: Column {
                name: of("/name"),
                r#type: of("/type"),
                format: of("/format"),
                priority: int(column, "/priority")
                    .and_then(|it| it.try_into().ok())
                    .unwrap_or(0),
            },
            path: JsonPath::parse(text(column, "/jsonPath")),
        }
    }

    fn cell(&self, object: &Value, now: i64) -> Value {
        let found = self.path.find(object);
        let Some(first) = found.first() else {
            return Value::Null;
        };
        match (self.column.r#type, first) {
            ("date", Value::String(time)) => since(time, now).into(),
            ("string", _) if found.len() > 1 => {
                let texts: Vec<_> = found.iter().map(|value| plain(value)).collect();
                texts.join(",").into()
            }
            ("string", value) => plain(value).into(),
            ("integer", value) if value.is_i64() => (*value).clone(),
            ("number", value) if value.is_number() => (*value).clone(),
            ("boolean", value) if value.is_boolean() => (*value).clone(),
            _ => Value::Null,
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_shows_what_its_path_finds() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "priority": 1,
                "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Made", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "None", "type": "string", "jsonPath": ".status.none"}]});
        let columns = Columns::of(&version);
        let object = json!({"spec": {"size": 3}, "status": {"conditions": [
            {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
            "metadata": {"name": "n", "creationTimestamp": "1970-01-01T00:00:00Z"}});
        assert_eq!(
            columns.cells(&object, 60),
            [
                json!("n"),
                json!(3),
                json!("True"),
                json!("60s"),
                Value::Null
            ]
        );
        assert_eq!(columns.definitions()[2].priority, 1);
    }
}
