use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "x": {"type": "number"}, "s": {"type": "string"},
        "b": {"type": "boolean"}, "any": {"x-kubernetes-int-or-string": true},
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "hidden": {"x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "string"}},
        "ports": {"type": "array", "items": {"type": "object",
            "properties": {"port": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true},
        "namespace": {"type": "string"}, "a-b": {"type": "integer"}}})
}

fn scope() -> Scope {
    let seen = of_schema(&schema(), true, "T").unwrap();
    let before = Type::optional(seen.clone());
    Scope::of_write(&Type::Dyn)
        .with("self", seen)
        .with("oldSelf", before)
}

fn checked(text: &str) -> Result<String, String> {
    check(text, &scope()).map(|found| found.to_string())
}

#[test]
fn parts_have_the_types_that_their_schema_and_functions_say() {
    for (text, wanted) in [
        ("self", "T"),
        ("self.n + 1", "int"),
        ("self.x * 2.0", "double"),
        ("self.any", "dyn"),
        ("self.any == 1 || self.any == '50%'", "bool"),
        ("self.when - self.day", "duration"),
        (
            "self.when + self.wait > timestamp('2024-01-01T00:00:00Z')",
            "bool",
        ),
        ("self.raw", "bytes"),
        ("self.free", "T.free"),
        ("self.list", "list(string)"),
        ("self.ports", "list(T.ports.@idx)"),
        ("self.ports[0].port", "int"),
        ("self.labels", "map(string, string)"),
        ("self.labels['a'] + self.labels.b", "string"),
        ("self.pod.metadata.name", "string"),
        ("self.metadata.generateName + self.kind", "string"),
        ("self.__namespace__ + string(self.a__dash__b)", "string"),
        ("has(self.n) && has(self.labels.a)", "bool"),
        ("self.?n", "optional_type(int)"),
        ("self.?labels[?'a'].orValue('none')", "string"),
        ("self.?labels.a", "optional_type(string)"),
        ("self.list[?0]", "optional_type(string)"),
        ("oldSelf.n", "optional_type(int)"),
        ("oldSelf.hasValue() ? oldSelf.value().n : 0", "int"),
        ("optional.none().orValue(1)", "int"),
        ("optional.of(1).or(optional.none())", "optional_type(int)"),
        ("[]", "list(dyn)"),
        ("[1, 2].map(i, string(i))", "list(string)"),
        ("[1, 2].map(i, i > 1, i * 2)", "list(int)"),
        ("self.list.filter(i, i != '')", "list(string)"),
        ("self.labels.map(key, key)", "list(string)"),
        (
            "self.list.all(i, i.size() > 1) && self.list.exists(i, i == 'a')",
            "bool",
        ),
        ("self.ports.exists_one(p, p.port == 80)", "bool"),
        ("self.any.all(i, i.x == 1)", "bool"),
        ("[] + self.list", "list(string)"),
        ("[1, 2].sum() + [3].max()", "int"),
        ("{'a': 1, 'b': 2}", "map(string, int)"),
        ("{}", "map(dyn, dyn)"),
        ("[1, ?self.?n]", "list(int)"),
        ("'a' in self.labels && 'a' in self.list", "bool"),
        ("1 < 2.5 && 1u >= 1", "bool"),
        ("'%s %d'.format(['a', 1])", "string"),
        ("self.s.split(',').map(i, int(i))", "list(int)"),
        ("self.s.findAll('a+')", "list(string)"),
        ("url(self.s).getQuery()", "map(string, list(string))"),
        (
            "ip(self.s).family() + cidr('10.0.0.0/8').prefixLength()",
            "int",
        ),
        ("cidr('10.0.0.0/8').containsIP(ip('10.0.0.1'))", "bool"),
        ("quantity('1Gi').add(1).compareTo(quantity('1'))", "int"),
        (
            "semver('1.2.3').major() + semver('1.2.3', true).minor()",
            "int",
        ),
        (
            "format.named('dns1123Label').value().validate(self.s).hasValue()",
            "bool",
        ),
        (
            "sets.contains(self.list, ['a']) && lists.range(3).isSorted()",
            "bool",
        ),
        ("[[1], [2]].flatten().first()", "optional_type(int)"),
        ("dyn(self.n) == 'a'", "bool"),
        ("self.when == null", "bool"),
        (
            "authorizer.group('').resource('pods').check('get').allowed()",
            "bool",
        ),
        ("authorizer.requestResource.check('get').reason()", "string"),
        (
            "request.userInfo.groups.exists(g, g == 'a') && request.options.x == 1",
            "bool",
        ),
        ("namespaceObject.metadata.labels['a']", "string"),
        ("object.spec.anything[0].more", "dyn"),
    ] {
        assert_eq!(checked(text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn faults_are_told_as_kubernetes_tells_them() {
    for (text, wanted) in [
        (
            "self.nope",
            "1:5: undefined field 'nope'\n | self.nope\n | ....^",
        ),
        (
            "has(self.nope)",
            "1:4: undefined field 'nope'\n | has(self.nope)\n | ...^",
        ),
        (
            "self.hidden == 1",
            "1:5: undefined field 'hidden'\n | self.hidden == 1\n | ....^",
        ),
        (
            "self.free.x == 1",
            "1:10: undefined field 'x'\n | self.free.x == 1\n | .........^",
        ),
        (
            "self.namespace == ''",
            "1:5: undefined field 'namespace'\n | self.namespace == ''\n | ....^",
        ),
        (
            "self.metadata.labels.size() == 0",
            "1:14: undefined field 'labels'\n | self.metadata.labels.size() == 0\n | .............^",
        ),
        (
            "objct.spec == 1",
            "1:1: undeclared reference to 'objct' (in container '')\n | objct.spec == 1\n | ^",
        ),
        (
            "nope(1)",
            "1:5: undeclared reference to 'nope' (in container '')\n | nope(1)\n | ....^",
        ),
        (
            "self.s == 1",
            "1:8: found no matching overload for '_==_' applied to '(string, int)'\n | self.s == 1\n | .......^",
        ),
        (
            "self.n + 1.0 > 2.0",
            "1:8: found no matching overload for '_+_' applied to '(int, double)'\n | self.n + 1.0 > 2.0\n | .......^",
        ),
        (
            "self.s.startsWith(1)",
            "1:18: found no matching overload for 'startsWith' applied to 'string.(int)'\n | self.s.startsWith(1)\n | .................^",
        ),
        (
            "self.s == null",
            "1:8: found no matching overload for '_==_' applied to '(string, null)'\n | self.s == null\n | .......^",
        ),
        (
            "self.n && self.b",
            "1:5: expected type 'bool' but found 'int'\n | self.n && self.b\n | ....^",
        ),
        (
            "self.n.x",
            "1:7: type 'int' does not support field selection\n | self.n.x\n | ......^",
        ),
        (
            "[1, 'a']",
            "1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^",
        ),
        (
            "self.n.all(i, true)",
            "1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, \
             or dynamic)\n | self.n.all(i, true)\n | ....^",
        ),
        (
            "self.list.all(i, i)",
            "1:18: expected type 'bool' but found 'string'\n | self.list.all(i, i)\n | .................^",
        ),
        (
            "self.list[0] > 1",
            "1:14: found no matching overload for '_>_' applied to '(string, int)'\n | self.list[0] > 1\n | .............^",
        ),
        (
            "self.ports.all(p, p.prt > 1)",
            "1:20: undefined field 'prt'\n | self.ports.all(p, p.prt > 1)\n | ...................^",
        ),
        (
            "true &&\n  self.nope",
            "2:7: undefined field 'nope'\n |   self.nope\n | ......^",
        ),
        (
            "'é' == self.nope",
            "1:12: undefined field 'nope'\n | 'é' == self.nope\n | ...........^",
        ),
        (
            "T{n: 1}.n == 1",
            "1:2: undeclared reference to 'T' (in container '')\n | T{n: 1}.n == 1\n | .^",
        ),
        (
            "request.nope == 1",
            "1:8: undefined field 'nope'\n | request.nope == 1\n | .......^",
        ),
        (
            "self.one == self.two",
            "1:5: undefined field 'one'\n | self.one == self.two\n | ....^\n\
             ERROR: <input>:1:17: undefined field 'two'\n | self.one == self.two\n | ................^",
        ),
    ] {
        let wanted = format!("ERROR: <input>:{wanted}");
        assert_eq!(checked(text), Err(wanted), "{text}");
    }
}

#[test]
fn no_expression_piles_up_types() {
    let doubled = ".map(x, {x: x})".repeat(40);
    let found = checked(&format!("[1]{doubled}")).unwrap();
    assert!(found.len() < 10_000, "{}", found.len());
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    assert!(checked(&deep).is_ok());
    assert!(checked(&"(".repeat(15_000)).is_err());
}
