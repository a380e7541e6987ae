//! Types of expressions, found before they run.
//!
//! A walk over the tree of the parser gives every part its type, bottom up, by the rules of cel-go:
//! what an expression may look at is declared with its type ([`Scope`]), functions have overloads
//! ([`functions`]), and what can't be known is [`Type::Dyn`], with which everything goes. Every fault
//! is told with its place ([`places`]). The walk is pure, as deep as the parser allows, and bounded in
//! time: it looks at every part once, and a type that grows too large is forgotten.
//!
//! Where it is not sure what Kubernetes would say, it says nothing: an expression that is refused here
//! is refused there, too.

mod functions;
mod places;
mod schema;
mod scope;
#[cfg(test)]
mod tests;
mod types;

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr,
    StructExpr, operators,
};

pub(crate) use places::{parse, unparsed};
pub(crate) use schema::of_schema;
pub(crate) use scope::Scope;
pub(crate) use types::Type;

use places::Fault;

use super::authorizer::{NAME as AUTHORIZER, OF_REQUEST, REQUEST_RESOURCE};

/// The type of what an expression comes to.
///
/// # Errors
/// All that is wrong with its types, as cel-go tells it; or that it cannot be parsed.
pub(crate) fn check(text: &str, scope: &Scope) -> Result<Type, String> {
    let parsed = parse(text).map_err(|errors| match errors {
        Some(errors) => unparsed(text, &errors),
        None => "Syntax error".to_owned(),
    })?;
    let mut checker = Checker {
        scope,
        locals: Vec::new(),
        faults: Vec::new(),
    };
    let found = checker.part(&parsed);
    if checker.faults.is_empty() {
        Ok(found)
    } else {
        Err(places::told(text, &checker.faults))
    }
}

/// A walk through an expression.
struct Checker<'a> {
    scope: &'a Scope,
    /// The variables of the comprehensions around, innermost last.
    locals: Vec<(String, Type)>,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn fault(&mut self, part: &IdedExpr, why: String) -> Type {
        let part = part.id;
        self.faults.push(Fault { part, why });
        Type::Error
    }

    fn undeclared(&mut self, part: &IdedExpr, name: &str) -> Type {
        let why = format!("undeclared reference to '{name}' (in container '')");
        self.fault(part, why)
    }

    fn mismatch(&mut self, part: &IdedExpr, wanted: &Type, found: &Type) -> Type {
        self.fault(
            part,
            format!("expected type '{wanted}' but found '{found}'"),
        )
    }

    fn part(&mut self, part: &IdedExpr) -> Type {
        match &part.expr {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => match self.variable(name) {
                Some(found) => found,
                None => self.undeclared(part, name),
            },
            Expr::Select(select) => self.select(part, select),
            Expr::Call(call) => self.call(part, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(message) => self.message(part, message),
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::Unspecified => Type::Error,
        }
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let locals = self.locals.iter().rev();
        let mut local = locals.filter(|(local, _)| local == name);
        let found = local.next().map(|(_, found)| found.clone());
        found.or_else(|| self.scope.variable(name))
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| local == name)
    }

    fn select(&mut self, part: &IdedExpr, select: &SelectExpr) -> Type {
        if let Expr::Ident(root) = &select.operand.expr
            && root == AUTHORIZER
            && select.field == REQUEST_RESOURCE
            && !select.test
            && !self.is_local(root)
            && let Some(found) = self.scope.variable(OF_REQUEST)
        {
            return found;
        }
        let found = self.field(part, &select.operand, &select.field, false);
        if select.test { Type::Bool } else { found }
    }

    /// The type of a field of `operand`.
    fn field(&mut self, part: &IdedExpr, operand: &IdedExpr, name: &str, optional: bool) -> Type {
        let operand = self.part(operand);
        let (inner, wrapped) = unwrapped(&operand);
        let found = match inner {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.fields.as_ref().map(|it| it.get(name)) {
                Some(Some(found)) => found.clone(),
                Some(None) => self.fault(part, format!("undefined field '{name}'")),
                None => Type::Open,
            },
            Type::Open => Type::Open,
            other if other.is_any() => Type::Dyn,
            Type::Opaque(_) => self.fault(part, format!("undefined field '{name}'")),
            other => {
                let why = format!("type '{other}' does not support field selection");
                self.fault(part, why)
            }
        };
        if wrapped || optional {
            Type::optional(found)
        } else {
            found
        }
    }

    fn call(&mut self, part: &IdedExpr, call: &CallExpr) -> Type {
        let name = call.func_name.as_str();
        if name == operators::OPT_SELECT
            && let [operand, field] = call.args.as_slice()
            && let Expr::Literal(LiteralValue::String(field)) = &field.expr
        {
            return self.field(part, operand, field.inner(), true);
        }
        if [operators::LOGICAL_AND, operators::LOGICAL_OR].contains(&name) {
            return self.logical(&call.args);
        }
        if let Some(target) = &call.target
            && let Expr::Ident(prefix) = &target.expr
            && let Some(full) = functions::qualified(prefix, name)
        {
            let given = self.arguments(name, &call.args);
            return self.applied(part, &full, false, given);
        }
        let mut given: Vec<Type> = Vec::new();
        if let Some(target) = &call.target {
            given.push(self.part(target));
        }
        given.extend(self.arguments(name, &call.args));
        if !functions::exists(name) {
            return self.undeclared(part, name);
        }
        self.applied(part, name, call.target.is_some(), given)
    }

    fn arguments(&mut self, name: &str, arguments: &[IdedExpr]) -> Vec<Type> {
        let mut types = Vec::with_capacity(arguments.len());
        for argument in arguments {
            types.push(match &argument.expr {
                // What is formatted may be of any types.
                Expr::List(list) if name == "format" => {
                    list.elements.iter().for_each(|it| {
                        self.part(it);
                    });
                    Type::list(Type::Dyn)
                }
                _ => self.part(argument),
            });
        }
        types
    }

    fn applied(&mut self, part: &IdedExpr, name: &str, on_value: bool, given: Vec<Type>) -> Type {
        if let Some(made) = functions::result(name, on_value, &given) {
            return made;
        }
        let types: Vec<String> = given.iter().map(Type::to_string).collect();
        let (target, types) = match types.split_first() {
            Some((target, rest)) if on_value => (format!("{target}."), rest),
            _ => (String::new(), types.as_slice()),
        };
        let types = types.join(", ");
        let why = format!("found no matching overload for '{name}' applied to '{target}({types})'");
        self.fault(part, why)
    }

    fn logical(&mut self, sides: &[IdedExpr]) -> Type {
        for side in sides {
            let found = self.part(side);
            if !found.goes_with(&Type::Bool) {
                self.mismatch(side, &Type::Bool, &found);
            }
        }
        Type::Bool
    }

    fn list(&mut self, list: &ListExpr) -> Type {
        let mut of = Type::Open;
        for (index, element) in list.elements.iter().enumerate() {
            let found = self.part(element);
            let optional = list.optional_indices.contains(&index);
            of = self.joined(element, &of, found, optional);
        }
        Type::list(of)
    }

    fn map(&mut self, map: &MapExpr) -> Type {
        let (mut keys, mut values) = (Type::Open, Type::Open);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                continue;
            };
            let key = self.part(&entry.key);
            keys = self.joined(&entry.key, &keys, key, false);
            let value = self.part(&entry.value);
            values = self.joined(&entry.value, &values, value, entry.optional);
        }
        Type::map(keys, values)
    }

    /// The type of the elements so far and one more, which may be given as one that may be missing.
    fn joined(&mut self, part: &IdedExpr, so_far: &Type, found: Type, optional: bool) -> Type {
        let found = match &found {
            Type::Optional(inner) if optional => (**inner).clone(),
            other if optional && !other.is_any() => {
                self.mismatch(part, &Type::optional(found.clone()), &found)
            }
            _ => found,
        };
        if so_far.goes_with(&found) {
            so_far.join(&found)
        } else {
            self.mismatch(part, so_far, &found)
        }
    }

    fn message(&mut self, part: &IdedExpr, message: &StructExpr) -> Type {
        let name = message.type_name.trim_start_matches('.');
        for entry in &message.entries {
            if let EntryExpr::StructField(field) = &entry.expr {
                self.part(&field.value);
            }
        }
        if self.scope.makes_messages() {
            return Type::any_object(name);
        }
        self.undeclared(part, name)
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Type {
        let range = self.part(&loops.iter_range);
        let start = self.part(&loops.accu_init);
        let (one, other) = match &range {
            Type::List(of) if loops.iter_var2.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Error),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Open => (Type::Open, Type::Open),
            other if other.is_any() => (Type::Dyn, Type::Dyn),
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be \
                     list, map, or dynamic)"
                );
                self.fault(&loops.iter_range, why);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.locals.len();
        self.locals.push((loops.accu_var.clone(), start.clone()));
        self.locals.push((loops.iter_var.clone(), one));
        let second = loops.iter_var2.iter().cloned();
        self.locals.extend(second.map(|name| (name, other.clone())));
        let goes_on = self.part(&loops.loop_cond);
        if !goes_on.goes_with(&Type::Bool) {
            self.mismatch(&loops.loop_cond, &Type::Bool, &goes_on);
        }
        let step = self.part(&loops.loop_step);
        if !step.goes_with(&start) {
            self.mismatch(&loops.loop_step, &start, &step);
        }
        self.locals.truncate(depth);
        self.locals
            .push((loops.accu_var.clone(), start.join(&step)));
        let made = self.part(&loops.result);
        self.locals.truncate(depth);
        made
    }
}

/// What is in an optional, or the type itself; and whether it was one.
fn unwrapped(found: &Type) -> (&Type, bool) {
    match found {
        Type::Optional(inner) => (inner, true),
        other => (other, false),
    }
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}
