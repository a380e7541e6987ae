//! One write, as webhooks and policies are asked about it.

use serde_json::Value;

use super::part::Part;
use super::request::Request;
use super::webhooks::Operation;
use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::Result;
use crate::api::value::{called, metadata, name, namespace};

/// What is asked about.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) server: &'a Server,
    pub(super) request: &'a Request<'a>,
    /// The kind under which the object is kept.
    pub(super) target: Target,
    pub(super) operation: Operation,
    /// What is written instead of the object.
    pub(super) part: Option<&'a Part<'a>>,
}

impl<'a> Write<'a> {
    /// A creation, or with `old` an update.
    pub(super) fn of(
        server: &'a Server,
        request: &'a Request<'a>,
        target: Target,
        old: Option<&Value>,
    ) -> Self {
        let operation = old.map_or(Operation::Create, |_| Operation::Update);
        Self {
            server,
            request,
            target,
            operation,
            part: None,
        }
    }

    /// The name of the object that is written, or that a part belongs to.
    pub(super) fn name(self, object: &'a Value) -> &'a str {
        self.part.map_or_else(|| name(object), |part| part.name)
    }

    /// What a refusal calls it.
    pub(super) fn called(self, object: &'a Value) -> &'a str {
        self.part.map_or_else(|| called(object), |part| part.name)
    }

    /// Its namespace.
    pub(super) fn namespace(self, object: &'a Value) -> &'a str {
        self.part
            .map_or_else(|| namespace(object), |part| part.namespace)
    }

    /// A stored object in `version`. Parts have one version.
    ///
    /// # Errors
    /// 500 if its kind's webhook does not convert it.
    pub(super) async fn shown(self, version: Target, object: Value) -> Result<Value> {
        match self.part {
            Some(_) => Ok(object),
            None => self.server.shown_one(version, object).await,
        }
    }

    /// `changed`, which is of `version`, as it is stored in the place of `object`.
    ///
    /// # Errors
    /// 500 if its kind's webhook does not convert it.
    pub(super) async fn changed(
        self,
        version: Target,
        mut changed: Value,
        object: &Value,
    ) -> Result<Value> {
        if self.part.is_none() {
            changed = self.server.to_stored(version, changed).await?;
        }
        keep_identity(&mut changed, object);
        if self.part.is_none() {
            self.target.kind.complete(&mut changed);
        }
        Ok(changed)
    }
}

/// What makes the object this one is not a hook's or a policy's to change.
fn keep_identity(new: &mut Value, old: &Value) {
    new["apiVersion"] = old["apiVersion"].clone();
    new["kind"] = old["kind"].clone();
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "managedFields",
    ] {
        let kept = old.pointer(&format!("/metadata/{key}")).cloned();
        let metadata = metadata(new);
        match kept {
            Some(kept) => metadata.insert(key.into(), kept),
            None => metadata.remove(key),
        };
    }
}
