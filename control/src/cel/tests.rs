use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::value::{of_json, typed};
use super::{Answer, Budget, Program, Question, Resource, Variables, What, authorizers};

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
        "!!(self.a == 1) && !!!has(self.b) && ! ! true",
        "--self.a == 1 && 5 - - -self.a == 4 && 5 - --self.a == 4 && - -1 == 1",
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

/// Whether an expression holds for somebody who may get and nothing else, and what was asked.
fn asking(text: &str) -> (Result<bool, String>, usize) {
    let asked = AtomicUsize::new(0);
    let answer = |question: &Question| {
        asked.fetch_add(1, Ordering::Relaxed);
        let named = matches!(&question.what, What::Resource(it) if it.name == "mine");
        Answer {
            allowed: question.verb == "get" || named,
            reason: question.verb.clone(),
        }
    };
    let declared = ["authorizer", "authorizer.requestResource"];
    let holds = Program::compile(text, &declared).and_then(|program| {
        let of_request = Resource {
            name: "mine".to_owned(),
            ..Resource::default()
        };
        let variables = authorizers(of_request).to_vec();
        program.holds(&variables, &mut Budget::asking(&answer))
    });
    (holds, asked.into_inner())
}

#[test]
fn a_question_is_asked_once_and_errors_hide_none() {
    let path = |verb: &str| format!("authorizer.path('/x').check('{verb}').allowed()");
    let (get, put) = (path("get"), path("put"));
    assert_eq!(asking(&get), (Ok(true), 1));
    assert_eq!(asking(&put), (Ok(false), 1));
    assert_eq!(asking(&format!("{get} && {get}")), (Ok(true), 1));
    assert_eq!(asking(&format!("{put} || {get}")), (Ok(true), 2));
    // What has no answer yet is an error, and true all the same would be a guess.
    assert_eq!(asking(&format!("!{put} && ({put} || true)")), (Ok(true), 1));
    let own = "authorizer.requestResource.check('delete').allowed()";
    assert_eq!(asking(own), (Ok(true), 1));
    let told = "authorizer.group('').resource('pods').check('list').reason() == 'list'";
    assert_eq!(asking(told), (Ok(true), 1));
}

#[test]
fn questions_have_a_form_and_a_bound() {
    for text in [
        "authorizer.check('get').allowed()",
        "authorizer.path('/x').allowed()",
        "authorizer.group('').check('get').allowed()",
        "authorizer.path('/x').resource('pods').check('get').allowed()",
        "authorizer.group('').resource('pods').group('').check('get').allowed()",
        "'text'.check('get').allowed()",
    ] {
        let (outcome, asked) = asking(text);
        assert_eq!(
            (outcome.unwrap_err().as_str(), asked),
            ("no such overload", 0),
            "{text}"
        );
    }
    let shadowed =
        asking("[{'requestResource': 1}].all(authorizer, authorizer.requestResource == 1)");
    assert_eq!(shadowed, (Ok(true), 0));
    let paths: Vec<String> = (0..60).map(|n| format!("'/{n}'")).collect();
    let many = format!(
        "[{}].all(it, authorizer.path(it).check('get').allowed())",
        paths.join(",")
    );
    let (outcome, asked) = asking(&many);
    assert!(outcome.unwrap_err().contains("cost limit exceeded"));
    assert!((20..=29).contains(&asked), "{asked}");
}
