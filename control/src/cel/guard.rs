//! What is done to a parsed expression before it may run: comprehensions ask for leave in every round,
//! names that nobody declares are found, and what the evaluator cannot do is refused.

use std::collections::BTreeSet;

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, SelectExpr, operators};

use super::authorizer::{self, OF_REQUEST};
use super::messages;

/// The function that asks for leave.
pub(super) const LEAVE: &str = "__leave";
/// The function behind `.?` and `[?]`.
pub(super) const LOOKUP: &str = "__lookup";
/// Comprehensions within each other.
const MAX_NESTING: usize = 5;
/// Prefixes of functions.
const LIBRARIES: &[&str] = &[
    "sets",
    "math",
    "base64",
    "format",
    "optional",
    "jsonpatch",
    "strings",
    "lists",
    "regex",
];
/// A walk through an expression.
#[derive(Default)]
pub(super) struct Guard {
    scope: Vec<String>,
    nesting: usize,
    /// Whether what a mutation makes may be made.
    messages: bool,
    /// The names that have to be declared.
    pub(super) free: BTreeSet<String>,
    fault: Option<String>,
}

impl Guard {
    /// For an expression that says what a mutation changes.
    pub(super) fn of_mutation() -> Self {
        Self {
            messages: true,
            ..Self::default()
        }
    }

    /// Guards an expression in place.
    ///
    /// # Errors
    /// What cannot be evaluated.
    pub(super) fn guard(&mut self, expr: &mut IdedExpr) -> Result<(), String> {
        self.walk(expr);
        self.fault.take().map_or(Ok(()), Err)
    }

    fn refuse(&mut self, why: &str) {
        self.fault.get_or_insert_with(|| why.to_owned());
    }

    fn walk(&mut self, node: &mut IdedExpr) {
        match &mut node.expr {
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(inner) => {
                self.walk(&mut inner.iter_range);
                self.walk(&mut inner.accu_init);
                self.nesting += 1;
                if self.nesting > MAX_NESTING {
                    self.refuse("too many comprehensions within each other");
                }
                let depth = self.scope.len();
                self.scope.push(inner.accu_var.clone());
                self.scope.push(inner.iter_var.clone());
                self.scope.extend(inner.iter_var2.clone());
                self.walk(&mut inner.loop_cond);
                self.walk(&mut inner.loop_step);
                self.walk(&mut inner.result);
                self.scope.truncate(depth);
                self.nesting -= 1;
                let condition = std::mem::take(&mut inner.loop_cond);
                inner.loop_cond = with_leave(condition);
            }
            Expr::Ident(name) => {
                if !self.scope.contains(name) {
                    self.free.insert(name.clone());
                }
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|it| self.walk(it)),
            Expr::Map(map) => map.entries.iter_mut().for_each(|it| self.entry(it)),
            Expr::Select(select) if self.is_of_request(select) => {
                node.expr = Expr::Ident(OF_REQUEST.to_owned());
                self.free.insert(OF_REQUEST.to_owned());
            }
            Expr::Select(select) => self.walk(&mut select.operand),
            Expr::Struct(message) if self.messages => {
                match messages::as_map(std::mem::take(message)) {
                    Ok(map) => {
                        node.expr = map;
                        self.walk(node);
                    }
                    Err(why) => self.refuse(&why),
                }
            }
            Expr::Struct(_) => self.refuse("messages cannot be made"),
            Expr::Unspecified => self.refuse("the expression is incomplete"),
            Expr::Literal(_) => {}
        }
    }

    /// Whether this is the one variable with a point in its name.
    fn is_of_request(&self, select: &SelectExpr) -> bool {
        let is_root = |name: &String| name == authorizer::NAME && !self.scope.contains(name);
        matches!(&select.operand.expr, Expr::Ident(name) if is_root(name))
            && select.field == authorizer::REQUEST_RESOURCE
            && !select.test
    }

    fn call(&mut self, call: &mut CallExpr) {
        if [LEAVE, LOOKUP].contains(&call.func_name.as_str()) {
            self.refuse("undeclared reference to a function");
        }
        if call.func_name == "type" && call.target.is_none() {
            self.refuse("type() is not supported");
        }
        if let Some(target) = call.target.as_deref_mut() {
            let library =
                matches!(&target.expr, Expr::Ident(name) if LIBRARIES.contains(&name.as_str()));
            if !library {
                self.walk(target);
            }
        }
        call.args.iter_mut().for_each(|it| self.walk(it));
        let optional = [operators::OPT_SELECT, operators::OPT_INDEX];
        if optional.contains(&call.func_name.as_str()) {
            LOOKUP.clone_into(&mut call.func_name);
        }
    }

    fn entry(&mut self, entry: &mut IdedEntryExpr) {
        match &mut entry.expr {
            EntryExpr::StructField(field) => self.walk(&mut field.value),
            EntryExpr::MapEntry(entry) => {
                self.walk(&mut entry.key);
                self.walk(&mut entry.value);
            }
        }
    }
}

fn with_leave(condition: IdedExpr) -> IdedExpr {
    let of = |func_name: &str, args: Vec<IdedExpr>| IdedExpr {
        id: condition_id(&args),
        expr: Expr::Call(CallExpr {
            func_name: func_name.to_owned(),
            target: None,
            args,
        }),
    };
    let leave = of(LEAVE, Vec::new());
    of(operators::LOGICAL_AND, vec![leave, condition])
}

fn condition_id(args: &[IdedExpr]) -> u64 {
    args.last().map_or(0, |condition| condition.id)
}
