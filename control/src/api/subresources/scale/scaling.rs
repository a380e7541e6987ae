//! What is asked of a Scale, and what it makes of the object.

use serde_json::{Map, Value, json};

use super::form::scale_of;
use crate::api::decode;
use crate::api::kinds::Target;
use crate::api::managed;
use crate::api::patch::Patch;
use crate::api::status::{Result, Status};
use crate::api::value::{name, object, text};
use crate::registry::kind::{Kind, ScalePaths};

/// A change of a Scale.
pub(super) enum Scaling {
    /// This Scale.
    Whole(Value),
    /// A patch of it.
    Patch(Patch),
    /// What an apply says about it.
    Applied(Value),
}

impl Scaling {
    /// Reads what an apply says about the Scale of the object called `own`.
    ///
    /// # Errors
    /// 400 for what is no Scale of that object, 400 if it tells its managers.
    pub(super) fn applied(bytes: &[u8], own: &str) -> Result<Self> {
        let scale = decode::applied(bytes)?.object;
        let head = (text(&scale, "/apiVersion"), text(&scale, "/kind"));
        if head != ("autoscaling/v1", "Scale") {
            let why = "an apply of a scale must be of apiVersion autoscaling/v1 and kind Scale";
            return Err(Status::bad_request(why));
        }
        if !matches!(name(&scale), "") && name(&scale) != own {
            let why = "the name of the object does not match the name on the URL";
            return Err(Status::bad_request(why));
        }
        if managed::take(&mut scale.clone()).is_some_and(|list| list != json!([])) {
            let why = "metadata.managedFields must be nil";
            return Err(Status::bad_request(why));
        }
        Ok(Self::Applied(scale))
    }

    /// What the Scale becomes.
    ///
    /// # Errors
    /// 422 for a patch that does not fit.
    pub(super) fn scale(&self, current: &Value) -> Result<Value> {
        match self {
            Self::Whole(scale) => Ok(scale.clone()),
            Self::Patch(patch) => patch.apply_as_merge(current),
            Self::Applied(said) => {
                let mut scale = current.clone();
                if let Some(replicas) = said.pointer("/spec/replicas") {
                    scale["spec"]["replicas"] = replicas.clone();
                }
                Ok(scale)
            }
        }
    }

    /// The same change, after others have made `scale` of what the Scale becomes.
    pub(super) fn settled(&self, scale: Value) -> Self {
        match self {
            Self::Whole(_) | Self::Patch(_) => Self::Whole(scale),
            Self::Applied(said) => {
                let mut said = said.clone();
                if said.pointer("/spec/replicas").is_some() {
                    said["spec"]["replicas"] = scale["spec"]["replicas"].clone();
                }
                Self::Applied(said)
            }
        }
    }

    /// What the apply says about the object itself, which is of `target`; none where it is no apply.
    ///
    /// # Errors
    /// 422 for what is no number of replicas.
    pub(super) fn configuration(
        &self,
        target: Target,
        paths: &ScalePaths,
    ) -> Option<Result<Value>> {
        let Self::Applied(said) = self else {
            return None;
        };
        Some(configuration(said, target, paths))
    }

    /// The object with the replicas that the changed Scale asks for.
    ///
    /// # Errors
    /// 422 for what is no number of replicas.
    pub(super) fn apply(&self, kind: &Kind, paths: &ScalePaths, old: &Value) -> Result<Value> {
        let scale = self.scale(&scale_of(paths, old))?;
        let replicas = replicas(&scale)?.unwrap_or(0);
        let mut new = old.clone();
        for field in ["resourceVersion", "uid"] {
            let wanted = text(&scale, &format!("/metadata/{field}"));
            if !wanted.is_empty() {
                new["metadata"][field] = wanted.into();
            }
        }
        let slot = new.pointer_mut(paths.spec_replicas);
        match slot {
            Some(slot) => *slot = replicas.into(),
            None => return Err(Status::internal(format!("{} has no replicas", kind.kind))),
        }
        Ok(new)
    }
}

/// The replicas that a Scale asks for; none if it says nothing.
fn replicas(scale: &Value) -> Result<Option<i64>> {
    let number = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => return Ok(None),
        Some(number) => number.as_i64(),
    };
    let number = number.filter(|number| (0..=i64::from(i32::MAX)).contains(number));
    number.map(Some).ok_or_else(|| {
        let why = "Invalid value: must be an integer greater than or equal to 0";
        Status::invalid_parameter("spec.replicas", why)
    })
}

fn configuration(said: &Value, target: Target, paths: &ScalePaths) -> Result<Value> {
    let mut config = json!({"apiVersion": target.api_version(), "kind": target.kind.kind});
    let kept = ["name", "namespace", "uid", "resourceVersion"];
    for (key, value) in said["metadata"].as_object().into_iter().flatten() {
        if kept.contains(&key.as_str()) {
            object(&mut config, "metadata").insert(key.clone(), value.clone());
        }
    }
    if let Some(replicas) = replicas(said)? {
        put(&mut config, paths.spec_replicas, replicas.into());
    }
    Ok(config)
}

/// Puts a value where a JSON pointer leads, through objects that are made on the way.
fn put(value: &mut Value, pointer: &str, new: Value) {
    let mut slot = value;
    for name in pointer.split('/').skip(1) {
        if !slot.is_object() {
            *slot = Map::new().into();
        }
        slot = &mut slot[name];
    }
    *slot = new;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::by_kind;

    fn deployment() -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}},
            "status": {"replicas": 2}})
    }

    #[test]
    fn a_scale_shows_replicas_and_selector() {
        let kind = by_kind("apps", "v1", "Deployment").unwrap();
        let scale = scale_of(kind.scale.as_ref().unwrap(), &deployment());
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"]["replicas"], 2);
        assert_eq!(scale["status"]["selector"], "app=web,tier in (a,b)");
    }

    #[test]
    fn scaling_changes_replicas_only_and_refuses_nonsense() {
        let kind = by_kind("apps", "v1", "Deployment").unwrap();
        let paths = kind.scale.as_ref().unwrap();
        let scaling = Scaling::Whole(json!({"spec": {"replicas": 5}}));
        let mut expected = deployment();
        expected["spec"]["replicas"] = 5.into();
        assert_eq!(scaling.apply(kind, paths, &deployment()).unwrap(), expected);
        for bad in [json!(-1), json!("3"), json!(1.5), json!(5_000_000_000_i64)] {
            let scaling = Scaling::Whole(json!({"spec": {"replicas": bad}}));
            assert_eq!(
                scaling.apply(kind, paths, &deployment()).unwrap_err().code,
                422
            );
        }
    }
}
