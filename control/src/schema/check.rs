//! Whether an object has the shape of its kind: unknown fields and values of the wrong type.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use naru_core::Quantity;
use serde_json::Value;

use super::table::{Body, Definition, Scalar, Table, Type};
use crate::registry::kind::{FieldError, FieldErrorReason};

/// What is wrong with the shape of an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Paths of fields that the kind does not have, such as `spec.containers[0].imagee`.
    pub unknown: Vec<String>,
    /// Values of the wrong type.
    pub faults: Vec<FieldError>,
}

/// Compares an object with the schema of its kind.
///
/// Null stands for an absent value everywhere. A kind without a schema has no faults: whether it
/// exists is for the registry to say.
pub fn check(group: &str, version: &str, kind: &str, object: &Value) -> Report {
    let mut report = Report::default();
    let table = Table::get();
    if let Some(id) = table.kind(group, version, kind) {
        let mut walk = Walk {
            table,
            report: &mut report,
            path: String::new(),
        };
        walk.reference(table.definition(id), object);
    }
    report
}

/// A position in the object under examination.
struct Walk<'a> {
    table: &'static Table,
    report: &'a mut Report,
    path: String,
}

impl Walk<'_> {
    fn value(&mut self, r#type: &Type, value: &Value) {
        if value.is_null() {
            return;
        }
        match r#type {
            Type::Scalar(scalar) => self.scalar(*scalar, value),
            Type::Reference(id) => self.reference(self.table.definition(*id), value),
            Type::List(element) => self.list(element, value),
            Type::Map(member) => self.map(member, value),
        }
    }

    fn reference(&mut self, definition: &'static Definition, value: &Value) {
        if let Body::Scalar(scalar) = definition.body {
            return self.scalar(scalar, value);
        }
        let Some(members) = value.as_object() else {
            return self.fault(value, "an object");
        };
        for (name, member) in members {
            let length = self.descend(name);
            match definition.field(name) {
                Some(field) => self.value(&field.r#type, member),
                None => self.report.unknown.push(self.path.clone()),
            }
            self.path.truncate(length);
        }
    }

    fn list(&mut self, element: &Type, value: &Value) {
        let Some(elements) = value.as_array() else {
            return self.fault(value, "a list");
        };
        let length = self.path.len();
        for (index, member) in elements.iter().enumerate() {
            self.path.push_str(&format!("[{index}]"));
            self.value(element, member);
            self.path.truncate(length);
        }
    }

    fn map(&mut self, member: &Type, value: &Value) {
        let Some(members) = value.as_object() else {
            return self.fault(value, "a map");
        };
        for (name, value) in members {
            let length = self.descend(name);
            self.value(member, value);
            self.path.truncate(length);
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        if let Err(expected) = fits(scalar, value) {
            self.fault(value, expected);
        }
    }

    /// Enters a member; returns the length of the path to go back to.
    fn descend(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }

    fn fault(&mut self, value: &Value, expected: &str) {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::String(text) => format!("{text:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.report.faults.push(FieldError {
            field: self.path.clone(),
            reason: FieldErrorReason::Invalid,
            message: format!("{found}: must be {expected}"),
        });
    }
}

/// Whether a value fits a scalar type, else what was expected.
fn fits(scalar: Scalar, value: &Value) -> Result<(), &'static str> {
    let ok = |fits: bool, expected| if fits { Ok(()) } else { Err(expected) };
    let text = value.as_str();
    match scalar {
        Scalar::Any => Ok(()),
        Scalar::String => ok(text.is_some(), "a string"),
        Scalar::Byte => ok(text.is_some_and(is_base64), "base64-encoded data"),
        Scalar::Boolean => ok(value.is_boolean(), "a boolean"),
        Scalar::Int32 => ok(int32(value), "a 32-bit integer"),
        Scalar::Int64 => ok(value.is_i64(), "a 64-bit integer"),
        Scalar::Number => ok(value.is_number(), "a number"),
        Scalar::Object => ok(value.is_object(), "an object"),
        Scalar::Time => ok(
            text.is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            "a time as in RFC 3339, such as 2006-01-02T15:04:05Z",
        ),
        Scalar::Quantity => {
            let parses = |text: &str| text.parse::<Quantity>().is_ok();
            let fits = text.map_or_else(|| value.is_number(), parses);
            ok(
                fits,
                "a quantity: a number, and optionally one of the suffixes n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent",
            )
        }
        Scalar::IntOrString => ok(text.is_some() || int32(value), "an integer or a string"),
    }
}

fn int32(value: &Value) -> bool {
    value
        .as_i64()
        .is_some_and(|number| i32::try_from(number).is_ok())
}

/// Base64 with optional line breaks, as decoders of Secrets take it.
fn is_base64(text: &str) -> bool {
    if text.contains(['\n', '\r']) {
        let joined: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        return BASE64_STANDARD.decode(joined).is_ok();
    }
    BASE64_STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faulty_fields(report: &Report) -> Vec<&str> {
        report
            .faults
            .iter()
            .map(|fault| fault.field.as_str())
            .collect()
    }

    #[test]
    fn unknown_fields_are_named_by_their_path() {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "label": {}},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "imagee": "b"}]}}},
            "extra": 1,
        });
        let report = check("apps", "v1", "Deployment", &deployment);
        let mut unknown = report.unknown.clone();
        unknown.sort();
        assert_eq!(
            unknown,
            [
                "extra",
                "metadata.label",
                "spec.template.spec.containers[0].imagee"
            ]
        );
        assert_eq!(report.faults, []);
    }

    #[test]
    fn wrong_types_are_named_by_their_path() {
        let pod = json!({
            "metadata": {"labels": {"a": 1}, "creationTimestamp": null},
            "spec": {
                "containers": [{
                    "ports": [{"containerPort": "80"}, {"containerPort": 3_000_000_000u64}],
                    "resources": {"limits": {"cpu": "1x", "memory": 5}},
                    "livenessProbe": {"httpGet": {"port": true}},
                    "stdin": "yes",
                }],
                "volumes": {},
                "terminationGracePeriodSeconds": 1.5,
            },
            "status": {"startTime": "yesterday"},
        });
        let report = check("", "v1", "Pod", &pod);
        let mut fields = faulty_fields(&report);
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "metadata.labels.a",
                "spec.containers[0].livenessProbe.httpGet.port",
                "spec.containers[0].ports[0].containerPort",
                "spec.containers[0].ports[1].containerPort",
                "spec.containers[0].resources.limits.cpu",
                "spec.containers[0].stdin",
                "spec.terminationGracePeriodSeconds",
                "spec.volumes",
                "status.startTime",
            ]
        );
    }

    #[test]
    fn secrets_hold_base64() {
        let secret = json!({"data": {"good": "YWJj", "wrapped": "YW\nJj", "bad": "%%%"}});
        assert_eq!(
            faulty_fields(&check("", "v1", "Secret", &secret)),
            ["data.bad"]
        );
    }

    #[test]
    fn an_object_that_is_none_has_one_fault() {
        assert_eq!(check("", "v1", "Pod", &json!([])).faults.len(), 1);
        assert_eq!(check("no", "v1", "Such", &json!([])), Report::default());
    }
}
