//! What the expressions of policies and of conditions may look at, and what they have to come to.
//! Objects and parameters may be of any type here: a policy says what it matches, not what that is.

use crate::cel::{Program, Scope, Type};
use crate::registry::rules::{At, Faults, unique};

/// What conditions see.
pub(super) fn of_conditions(spec: &At<'_>) -> Scope {
    let scope = Scope::of_write(&Type::Dyn);
    if spec.get("paramKind").is_set() {
        scope.with("params", Type::Dyn)
    } else {
        scope
    }
}

/// What the other expressions of a policy see, its variables included, which are checked on the way:
/// each sees those before.
pub(super) fn of_policy(spec: &At<'_>, faults: &mut Faults) -> Scope {
    let scope = of_conditions(spec);
    let mut known = Vec::new();
    for variable in spec.get("variables").each() {
        let scope = with_variables(&scope, &known);
        let found = checked(&variable.get("expression"), &scope, &[], faults);
        known.push((variable.get("name").text().to_owned(), found));
    }
    with_variables(&scope, &known)
}

fn with_variables(scope: &Scope, known: &[(String, Type)]) -> Scope {
    let variables = Type::object("kubernetes.variables", known.iter().cloned());
    scope.clone().with("variables", variables)
}

/// Conditions under which something is asked at all have a name each and come to true or false.
pub(super) fn conditions(parent: &At<'_>, faults: &mut Faults) {
    let (all, scope) = (parent.get("matchConditions"), of_conditions(parent));
    for condition in all.each() {
        checked(&condition.get("expression"), &scope, &[Type::Bool], faults);
    }
    unique(all.each().map(|condition| condition.get("name")), faults);
}

/// What an expression, if it is there, comes to: one of `wanted`, unless that is empty.
pub(super) fn checked(
    expression: &At<'_>,
    scope: &Scope,
    wanted: &[Type],
    faults: &mut Faults,
) -> Type {
    if expression.is_empty() {
        return Type::Dyn;
    }
    match Program::check(expression.text(), scope) {
        Ok((_, found)) => {
            if !wanted.is_empty() && !wanted.iter().any(|it| found.is(it)) {
                faults.invalid(expression, &unwanted(wanted, &found));
            }
            found
        }
        Err(why) => {
            faults.invalid(expression, &why);
            Type::Dyn
        }
    }
}

fn unwanted(wanted: &[Type], found: &Type) -> String {
    match wanted {
        [wanted] => format!("must evaluate to {wanted} but got {found}"),
        many => {
            let many: Vec<String> = many.iter().map(named).collect();
            format!(
                "must evaluate to one of [{}] but got {found}",
                many.join(" ")
            )
        }
    }
}

/// A type among several, as Kubernetes lists them.
fn named(found: &Type) -> String {
    match found {
        Type::Null => "null_type".to_owned(),
        other => other.to_string(),
    }
}
