use std::time::Duration;

use serde_json::{Value as Json, json};

use super::value::{of_json, typed};
use super::{Budget, Program, Variables};

fn seeing(value: &Json) -> Variables {
    vec![("self".to_owned(), of_json(value))]
}

fn holds(text: &str, value: &Json) -> Result<bool, String> {
    let program = Program::compile(text, &["self"])?;
    program.holds(&seeing(value), &mut Budget::default())
}

#[test]
fn expressions_see_objects() {
    let object = json!({"a": 1, "list": ["x", "y"], "labels": {"k/v": "1"}, "namespace": "n"});
    for text in [
        "self.a == 1",
        "self.list.all(x, x in ['x', 'y', 'z'])",
        "self.list.exists_one(x, x == 'y') && size(self.list) == 2",
        "has(self.a) && !has(self.b)",
        "self.labels['k/v'] == '1'",
        "self.__namespace__ == 'n' && self.namespace == 'n'",
        "self.?b.orValue(7) == 7 && self.?a.orValue(7) == 1",
        "!self.?b.?c.hasValue() && self.labels[?'k/v'].orValue('') == '1'",
        "self.list[?5].orValue('none') == 'none' && self.list[?0].value() == 'x'",
        "quantity('1Gi').isGreaterThan(quantity('500Mi'))",
        "'abc'.matches('^[a-c]+$') && self.list.map(x, x + x) == ['xx', 'yy']",
        "sets.contains(self.list, ['x'])",
        "dyn(self.a) == 1",
        "isURL('https://a.b/c') && url('https://a.b/c').getHost() == 'a.b'",
    ] {
        assert_eq!(holds(text, &object), Ok(true), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let errors = |text: &str| holds(text, &json!({"a": 1})).unwrap_err();
    assert_eq!(errors("self.b == 1"), "no such key: b");
    assert_eq!(errors("self.a / 0 == 1"), "division by zero");
    assert_eq!(errors("self.a"), "expected a bool, got int");
    assert!(errors("other.a == 1").contains("undeclared reference to 'other'"));
    assert!(errors("self.a ==").starts_with("compilation failed"));
    assert!(errors("Message{a: 1} == 1").contains("messages cannot be made"));
    assert!(errors("__leave()").contains("undeclared reference"));
    assert!(errors("type(self.a) == int").contains("type() is not supported"));
    assert!(errors(" ").contains("empty"));
    assert!(errors(&"(".repeat(20_000)).contains("longer than"));
    assert!(holds(&"(".repeat(10_000), &json!({})).is_err());
}

#[test]
fn what_costs_too_much_ends_whatever_it_would_have_come_to() {
    let many: Vec<u32> = (0..2000).collect();
    let deep = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
    let program = Program::compile(deep, &["self"]).unwrap();
    let variables = seeing(&json!(many));
    let mut few = Budget::new(1000, Duration::from_secs(60));
    let why = program.holds(&variables, &mut few).unwrap_err();
    assert!(why.contains("cost limit exceeded"), "{why}");
    // A budget that is spent stays so.
    let cheap = Program::compile("true", &[]).unwrap();
    assert!(cheap.holds(&variables, &mut few).is_err());
    let absorbed = Program::compile(&format!("{deep} || true"), &["self"]).unwrap();
    let mut few = Budget::new(1000, Duration::from_secs(60));
    assert!(absorbed.holds(&variables, &mut few).is_err());
    let mut short = Budget::new(u32::MAX, Duration::from_millis(20));
    assert!(program.holds(&variables, &mut short).is_err());
    let nested =
        "self.all(a, self.all(b, self.all(c, self.all(d, self.all(e, self.all(f, true))))))";
    assert!(
        Program::compile(nested, &["self"])
            .unwrap_err()
            .contains("too many")
    );
}

#[test]
fn a_schema_says_what_values_are() {
    let schema = json!({"type": "object", "properties": {
        "when": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "share": {"type": "number"}, "a-b": {"type": "integer"}, "in": {"type": "string"},
        "free": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let object = json!({"when": "2025-01-02T03:04:05Z", "wait": "90s", "share": 2, "a-b": 3,
        "in": "x", "free": {"c-d": "e"}});
    let variables = vec![("self".to_owned(), typed(&schema, &object))];
    for text in [
        "self.when > timestamp('2024-01-01T00:00:00Z')",
        "self.wait == duration('1m30s')",
        "self.share == 2.0",
        "self.a__dash__b == 3 && self.__in__ == 'x'",
        "self.free['c-d'] == 'e'",
    ] {
        let program = Program::compile(text, &["self"]).unwrap();
        let holds = program.holds(&variables, &mut Budget::default());
        assert_eq!(holds, Ok(true), "{text}");
    }
}
