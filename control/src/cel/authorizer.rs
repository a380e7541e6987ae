//! `authorizer`: expressions that ask what somebody may do.
//!
//! An expression names what it asks about step by step, `authorizer.group("apps").resource("deployments")
//! .namespace("shop").check("create").allowed()`, and each step is a value of its own; only `check`
//! asks. Evaluation can neither wait nor reach the server, so it does not ask either: a question that
//! has no answer yet is written down and ends the evaluation, whoever evaluates answers it, and the
//! expression is evaluated again ([`super::Budget::asking`]). So an expression sees one answer to a
//! question, however often it asks.
//!
//! It will not do selectors: no rule here looks at any.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::Opaque;
use kube_cel::cel::{Context, ExecutionError, Value};

/// Rounds that a question costs: as many as let an expression ask 28 of them, which is what one of
/// Kubernetes may.
const ROUNDS: u32 = 3_500;

/// The variable, and the one that asks about the request's own resource.
pub(super) const NAME: &str = "authorizer";
pub(super) const REQUEST_RESOURCE: &str = "requestResource";
/// How the latter is called here, where names have no points.
pub(super) const OF_REQUEST: &str = "authorizer.requestResource";

/// What an expression asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// Namespace and name of the service account that is asked about; the one who writes if there is
    /// none.
    pub(crate) account: Option<(String, String)>,
    /// What he wants to do.
    pub(crate) verb: String,
    /// What he wants to do it to.
    pub(crate) what: What,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// A path that is no resource's.
    Path(String),
    /// A resource; what is not said is empty.
    Resource(Resource),
}

/// A resource, and which of its objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Default for What {
    fn default() -> Self {
        Self::Resource(Resource::default())
    }
}

/// Who answers questions: whether it is allowed, and why.
pub(crate) type Asked<'a> = dyn Fn(&Question) -> Answer + Sync + 'a;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether it is allowed.
    pub(crate) allowed: bool,
    /// Why, if there is something to say.
    pub(crate) reason: String,
}

/// The variables of a write: who may what, and who may do the same to this resource.
pub(crate) fn authorizers(of_request: Resource) -> [(String, Value); 2] {
    let resource = Step::Resource(Question {
        what: What::Resource(of_request),
        ..Question::default()
    });
    let root = Step::Root(Question::default());
    [(NAME, root), (OF_REQUEST, resource)].map(|(name, step)| (name.to_owned(), step.value()))
}

/// How far a question has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Root(Question),
    Path(Question),
    Group(Question),
    Resource(Question),
    Answer(Answer),
}

impl Step {
    fn value(self) -> Value {
        Value::Opaque(Arc::new(self))
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Opaque(inner) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl Opaque for Step {
    fn runtime_type_name(&self) -> &str {
        match self {
            Self::Root(_) => "kubernetes.authorization.Authorizer",
            Self::Path(_) => "kubernetes.authorization.PathCheck",
            Self::Group(_) => "kubernetes.authorization.GroupCheck",
            Self::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Self::Answer(_) => "kubernetes.authorization.Decision",
        }
    }
}

type Outcome = Result<Value, ExecutionError>;

/// Adds the functions by which a question is put and its answer read.
pub(super) fn add_functions(context: &mut Context<'_>) {
    context.add_function("path", |This(it): This<Value>, path: Arc<String>| {
        step(&it, |step| match step {
            Step::Root(question) => Some(Step::Path(Question {
                what: What::Path(path.to_string()),
                ..question
            })),
            _ => None,
        })
    });
    context.add_function(
        "serviceAccount",
        |This(it): This<Value>, namespace: Arc<String>, name: Arc<String>| {
            step(&it, |step| match step {
                Step::Root(question) => Some(Step::Root(Question {
                    account: Some((namespace.to_string(), name.to_string())),
                    ..question
                })),
                _ => None,
            })
        },
    );
    context.add_function("group", |This(it): This<Value>, group: Arc<String>| {
        step(&it, |step| match step {
            Step::Root(question) => Some(Step::Group(Question {
                what: What::Resource(Resource {
                    group: group.to_string(),
                    ..Resource::default()
                }),
                ..question
            })),
            _ => None,
        })
    });
    context.add_function("resource", |This(it): This<Value>, name: Arc<String>| {
        step(&it, |step| match step {
            Step::Group(question) => Some(Step::Resource(with(question, |resource| {
                resource.resource = name.to_string();
            }))),
            _ => None,
        })
    });
    add_part(context, "subresource", |resource, part| {
        resource.subresource = part;
    });
    add_part(context, "namespace", |resource, part| {
        resource.namespace = part;
    });
    add_part(context, "name", |resource, part| resource.name = part);
    context.add_function("check", check);
    add_fact(context, "allowed", |answer| Value::Bool(answer.allowed));
    add_fact(context, "reason", |answer| {
        Value::String(Arc::new(answer.reason.clone()))
    });
    // Nobody who answers can fail to.
    add_fact(context, "errored", |_| Value::Bool(false));
    add_fact(context, "error", |_| Value::String(Arc::default()));
}

/// The next step from `value`.
fn step(value: &Value, next: impl FnOnce(Step) -> Option<Step>) -> Outcome {
    let now = Step::of(value).cloned();
    let next = now.and_then(next).ok_or(ExecutionError::NoSuchOverload)?;
    Ok(next.value())
}

fn with(mut question: Question, change: impl FnOnce(&mut Resource)) -> Question {
    if let What::Resource(resource) = &mut question.what {
        change(resource);
    }
    question
}

fn add_part(context: &mut Context<'_>, name: &'static str, set: fn(&mut Resource, String)) {
    context.add_function(name, move |This(it): This<Value>, part: Arc<String>| {
        step(&it, |step| match step {
            Step::Resource(question) => Some(Step::Resource(with(question, |resource| {
                set(resource, part.to_string());
            }))),
            _ => None,
        })
    });
}

fn add_fact(context: &mut Context<'_>, name: &'static str, read: fn(&Answer) -> Value) {
    context.add_function(name, move |This(it): This<Value>| match Step::of(&it) {
        Some(Step::Answer(answer)) => Ok(read(answer)),
        _ => Err(ExecutionError::NoSuchOverload),
    });
}

fn check(This(it): This<Value>, verb: Arc<String>) -> Outcome {
    let question = match Step::of(&it).cloned() {
        Some(Step::Path(question) | Step::Resource(question)) => question,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let question = Question {
        verb: verb.to_string(),
        ..question
    };
    let answer = Answers::to(question).ok_or_else(unanswered)?;
    Ok(Step::Answer(answer).value())
}

fn unanswered() -> ExecutionError {
    ExecutionError::function_error("check", "the question has no answer")
}

/// The answers that an evaluation has got so far, and the question that it lacks one to.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: HashMap<Question, Answer>,
    missing: Option<Question>,
}

thread_local! {
    /// Those of the evaluation that this thread is at.
    static CURRENT: RefCell<Answers> = RefCell::default();
}

impl Answers {
    fn to(question: Question) -> Option<Answer> {
        CURRENT.with_borrow_mut(|current| {
            let known = current.known.get(&question).cloned();
            if known.is_none() {
                current.missing.get_or_insert(question);
            }
            known
        })
    }

    /// Evaluates again and again until every question has got its answer from `asked`. `evaluate` is
    /// told what the question before it costs, in rounds.
    pub(super) fn gather<T>(asked: Option<&Asked<'_>>, mut evaluate: impl FnMut(u32) -> T) -> T {
        CURRENT.set(Self::default());
        let mut result = evaluate(0);
        while let Some(asked) = asked
            && let Some(question) = CURRENT.with_borrow_mut(|current| current.missing.take())
        {
            let answer = asked(&question);
            CURRENT.with_borrow_mut(|current| current.known.insert(question, answer));
            result = evaluate(ROUNDS);
        }
        result
    }
}
