//! What a policy's expressions see of a write.

use std::borrow::Cow;

use kube_cel::cel::Value as Seen;
use serde_json::Value;

use super::super::conditions::{shown, variables};
use super::super::write::Write;
use super::index::Bound;
use crate::api::kinds::Target;
use crate::api::status::Result;
use crate::cel::{Variables, of_json};

/// A write that is a policy's business, where the policy holds.
pub(super) struct Scene<'a> {
    write: Write<'a>,
    /// The version in which the policy wants to see objects.
    pub(super) version: Target,
    /// The parameters with which it is asked, each by itself; one that is none for a policy without.
    ///
    /// # Errors
    /// Why there are none although there should be.
    pub(super) parameters: std::result::Result<Vec<Option<Value>>, String>,
    place: Seen,
}

impl<R> Bound<R> {
    /// What there is to see; none if the write is not the policy's business.
    pub(super) async fn scene<'a>(
        &self,
        write: Write<'a>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Option<Scene<'a>> {
        let (policy, binding) = (&self.policy, &self.binding);
        let version = policy.matching.version(write, new, old)?;
        if !binding.matching.narrows(write, new, old) {
            return None;
        }
        let object = new.or(old).unwrap_or(&Value::Null);
        let wanted = policy.parameters.as_ref();
        let place = write.namespace(object);
        let parameters = binding.parameters(write.server, wanted, place).await;
        let place = write.target.kind.namespaced.then_some(place);
        let place = place.and_then(|place| write.server.stored("namespaces", None, place));
        Some(Scene {
            write,
            version,
            parameters,
            place: of_json(&place.unwrap_or_default()),
        })
    }
}

impl Scene<'_> {
    /// A stored object in the version in which the policy wants to see it.
    ///
    /// # Errors
    /// 500 if a webhook does not convert it.
    pub(super) async fn shown<'o>(
        &self,
        object: Option<&'o Value>,
    ) -> Result<Option<Cow<'o, Value>>> {
        shown(self.write, self.version, object).await
    }

    /// The scene with these objects, as they are shown, and one of the parameters.
    pub(super) fn seen(
        &self,
        new: Option<&Value>,
        old: Option<&Value>,
        parameter: Option<&Value>,
    ) -> Variables {
        let mut seen = variables(self.write, self.version, new, old);
        seen.push(("namespaceObject".to_owned(), self.place.clone()));
        let parameter = of_json(parameter.unwrap_or(&Value::Null));
        seen.push(("params".to_owned(), parameter));
        seen
    }
}
