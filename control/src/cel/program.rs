//! An expression that is ready to run.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kube_cel::KubeCelExt;
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Value};

use super::authorizer;
use super::budget::Budget;
use super::check::{Scope, Type, check, parse, unparsed};
use super::guard::{Guard, LEAVE, LOOKUP};
use super::lookup::lookup;

/// Bytes of an expression, at most.
const MAX_TEXT: usize = 16 << 10;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Program {
    expression: IdedExpr,
    free: BTreeSet<String>,
}

/// What an expression sees, by name.
pub(crate) type Variables = Vec<(String, Value)>;

thread_local! {
    /// The functions; making them costs more than most expressions.
    static FUNCTIONS: Context<'static> = functions();
}

fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function(LEAVE, || {
        if Budget::take_round() {
            return Ok(true);
        }
        Err(ExecutionError::function_error("cost", "budget exceeded"))
    });
    context.add_function(LOOKUP, lookup);
    authorizer::add_functions(&mut context);
    // Nothing has a type to be rid of.
    context.add_function("dyn", |value: Value| -> Result<Value, ExecutionError> {
        Ok(value)
    });
    context
}

impl Program {
    /// Compiles an expression that may see `declared`.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(crate) fn compile(text: &str, declared: &[&str]) -> Result<Program, String> {
        Self::guarded(text, declared, Guard::default())
    }

    /// The same for an expression that says what a mutation changes, and may make `Object` and
    /// `JSONPatch`.
    ///
    /// # Errors
    /// As in [`Self::compile`].
    pub(crate) fn compile_mutation(text: &str, declared: &[&str]) -> Result<Program, String> {
        Self::guarded(text, declared, Guard::of_mutation())
    }

    /// Compiles an expression that somebody writes, and says what it comes to.
    ///
    /// # Errors
    /// All that is wrong with it, types included, on as many lines as that takes.
    pub(crate) fn check(text: &str, scope: &Scope) -> Result<(Program, Type), String> {
        bounded(text)?;
        let found = check(text, scope).map_err(|why| format!("compilation failed: {why}"))?;
        let guard = if scope.makes_messages() {
            Guard::of_mutation()
        } else {
            Guard::default()
        };
        let program = Self::guarded(text, &scope.names(), guard)?;
        Ok((program, found))
    }

    fn guarded(text: &str, declared: &[&str], mut guard: Guard) -> Result<Program, String> {
        bounded(text)?;
        let mut expression = parse(text).map_err(|errors| {
            let why = errors.map(|errors| unparsed(text, &errors));
            let why = why.unwrap_or_else(|| "Syntax error".to_owned());
            format!("compilation failed: {why}")
        })?;
        guard
            .guard(&mut expression)
            .map_err(|why| format!("compilation failed: {why}"))?;
        let unknown = |name: &&String| !declared.contains(&name.as_str());
        if let Some(name) = guard.free.iter().find(unknown) {
            return Err(format!(
                "compilation failed: undeclared reference to '{name}'"
            ));
        }
        Ok(Program {
            expression,
            free: guard.free,
        })
    }

    /// Whether the expression looks at a variable.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.free.contains(name)
    }

    /// Evaluates.
    ///
    /// # Errors
    /// Why there is no result.
    pub(crate) fn run(
        &self,
        variables: &Variables,
        budget: &mut Budget<'_>,
    ) -> Result<Value, String> {
        let evaluate = || {
            FUNCTIONS.with(|functions| {
                let mut scope = functions.new_inner_scope();
                let seen = variables.iter().filter(|(name, _)| self.uses(name));
                for (name, value) in seen {
                    scope.add_variable_from_value(name.clone(), value.clone());
                }
                Value::resolve(&self.expression, &scope)
            })
        };
        let result = budget.run(|| catch_unwind(AssertUnwindSafe(&evaluate)));
        let result = result.ok_or("operation cancelled: actual cost limit exceeded")?;
        let result = result.map_err(|_| "the expression cannot be evaluated".to_owned())?;
        result.map_err(|error| told(&error))
    }

    /// Evaluates what has to be true or false.
    ///
    /// # Errors
    /// Why it is neither.
    pub(crate) fn holds(
        &self,
        variables: &Variables,
        budget: &mut Budget<'_>,
    ) -> Result<bool, String> {
        match self.run(variables, budget)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("expected a bool, got {}", other.type_of())),
        }
    }

    /// Evaluates what has to be a text.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn text(
        &self,
        variables: &Variables,
        budget: &mut Budget<'_>,
    ) -> Result<String, String> {
        match self.run(variables, budget)? {
            Value::String(text) => Ok(text.to_string()),
            other => Err(format!("expected a string, got {}", other.type_of())),
        }
    }
}

/// Whether a text is there, and none that is too long.
fn bounded(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if text.len() > MAX_TEXT {
        return Err(format!("the expression is longer than {MAX_TEXT} bytes"));
    }
    Ok(())
}

/// An error in the words of the reference implementation, and without the values in question.
fn told(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("no such key: {name}"),
        ExecutionError::NoSuchOverload
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::ValuesNotComparable(..) => "no such overload".to_owned(),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".to_owned(),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        ExecutionError::UndeclaredReference(name) => format!("undeclared reference to '{name}'"),
        _ => "the expression cannot be evaluated".to_owned(),
    }
}
