//! What policies change.
//!
//! A mutation says either what it wants to be there, which is laid over the object as an apply would
//! be, but belongs to nobody; or it is a JSON patch.

use json_patch::Patch;
use serde_json::Value;

use super::super::asked::Asked;
use super::super::write::Write;
use super::Policies;
use super::index::Bound;
use super::policy::Rules;
use crate::api::kinds::Target;
use crate::api::managed;
use crate::api::operations::operate;
use crate::api::status::{Result, Status};
use crate::api::value::{items, text};
use crate::cel::{Budget, Program, Question, Variables, to_json};
use crate::registry::POLICY_VARIABLES;
use crate::schema;
use crate::schema::ownership::{atomics, merge};

/// All that a policy changes, in this order.
pub(in super::super) struct Mutations {
    all: Vec<Mutation>,
    /// Whether the policy wants to be asked again when the object has changed since.
    again: bool,
}

struct Mutation {
    patches: bool,
    program: std::result::Result<Program, String>,
}

impl Rules for Mutations {
    fn read(spec: &Value) -> Self {
        Self {
            all: items(spec, "/mutations")
                .iter()
                .map(Mutation::read)
                .collect(),
            again: text(spec, "/reinvocationPolicy") == "IfNeeded",
        }
    }
}

impl Policies {
    /// Lets policies change an object, one after the other.
    ///
    /// # Errors
    /// 422 for the first policy that cannot be evaluated and may not be left out.
    pub(in super::super) async fn mutate(
        &self,
        write: Write<'_>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Asked<Bound<Mutations>>> {
        let mut asked = Asked::default();
        for bound in self.mutating.bound(write.server).iter() {
            if bound.change(write, new, old).await? && bound.policy.rules.again {
                asked.left(bound, new);
            }
        }
        Ok(asked)
    }

    /// Asks those again that would find another object than they left.
    ///
    /// # Errors
    /// As in [`Self::mutate`].
    pub(in super::super) async fn again(
        &self,
        write: Write<'_>,
        mut asked: Asked<Bound<Mutations>>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<()> {
        while let Some(bound) = asked.surprised(new) {
            bound.change(write, new, old).await?;
        }
        Ok(())
    }
}

impl Bound<Mutations> {
    /// Changes an object; whether it is the policy's business.
    async fn change(&self, write: Write<'_>, new: &mut Value, old: Option<&Value>) -> Result<bool> {
        let Some(scene) = self.scene(write, Some(new), old).await else {
            return Ok(false);
        };
        let parameters = match &scene.parameters {
            Ok(parameters) => parameters,
            Err(why) => return self.failed(write, new, why).map(|()| true),
        };
        let asked = |question: &Question| write.answer(question);
        let mut budget = Budget::asking(&asked);
        let old = scene.shown(old).await?;
        let mut shown = write.shown(scene.version, new.clone()).await?;
        for parameter in parameters {
            let see = |shown: &Value| scene.seen(Some(shown), old.as_deref(), parameter.as_ref());
            let mut seen = see(&shown);
            match self.policy.holds(&seen, &mut budget) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    self.failed(write, new, &why)?;
                    continue;
                }
            }
            for mutation in &self.policy.rules.all {
                let variables = self.policy.with_variables(seen.clone(), &mut budget);
                match mutation.apply(scene.version, &shown, &variables, &mut budget) {
                    Err(why) => self.failed(write, new, &why)?,
                    Ok(changed) if changed == shown => {}
                    Ok(changed) => {
                        *new = write.changed(scene.version, changed, new).await?;
                        shown = write.shown(scene.version, new.clone()).await?;
                        seen = see(&shown);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Something cannot be evaluated, which stops the write unless the policy may be left out.
    fn failed(&self, write: Write<'_>, object: &Value, why: &str) -> Result<()> {
        if self.policy.overlooks(why) {
            return Ok(());
        }
        let (policy, binding) = (&self.policy.name, &self.binding.name);
        let why = format!("policy '{policy}' with binding '{binding}' denied request: {why}");
        let mut status = Status::forbidden_object(write.target.kind, write.called(object), &why);
        (status.code, status.reason) = (http::StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
        Err(status)
    }
}

impl Mutation {
    fn read(mutation: &Value) -> Self {
        let patches = text(mutation, "/patchType") == "JSONPatch";
        let place = if patches {
            "/jsonPatch/expression"
        } else {
            "/applyConfiguration/expression"
        };
        Self {
            patches,
            program: Program::compile_mutation(text(mutation, place), POLICY_VARIABLES),
        }
    }

    /// What becomes of `object`, which is of `version`.
    ///
    /// # Errors
    /// Why that cannot be said.
    fn apply(
        &self,
        version: Target,
        object: &Value,
        seen: &Variables,
        budget: &mut Budget<'_>,
    ) -> std::result::Result<Value, String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let said = to_json(&program.run(seen, budget)?)?;
        if self.patches {
            patched(object, said)
        } else {
            merged(version, object, said)
        }
    }
}

/// `object` after a patch; as it was, if a test of the patch fails.
fn patched(object: &Value, patch: Value) -> std::result::Result<Value, String> {
    let patch: Patch = serde_json::from_value(patch).map_err(|error| {
        format!(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: {error}"
        )
    })?;
    let mut patched = object.clone();
    match operate(&mut patched, &patch) {
        Ok(()) => Ok(patched),
        Err(fault) if fault.is_failed_test() => Ok(object.clone()),
        Err(fault) => Err(format!("JSONPath: {fault}")),
    }
}

/// `object` with all that `said` wants to be there.
fn merged(version: Target, object: &Value, mut said: Value) -> std::result::Result<Value, String> {
    if !said.is_object() {
        return Err(
            "unsupported return type from ApplyConfiguration expression: it is no Object"
                .to_owned(),
        );
    }
    for key in ["apiVersion", "kind"] {
        said[key] = object[key].clone();
    }
    let kind = version.kind;
    if kind.custom.is_none() {
        let report = schema::check(kind.group, kind.version, kind.kind, &said);
        if let Some(unknown) = report.unknown.first() {
            return Err(format!(
                "error applying patch: failed to convert patch object to typed object: {unknown}"
            ));
        }
    }
    let node = managed::node(version);
    let whole = atomics(node, &said);
    if !whole.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps \
             or structs: {}",
            whole.join(", ")
        ));
    }
    Ok(merge(node, object, &said))
}
