//! Makes and keeps the cluster's own FlowSchemas and PriorityLevelConfigurations.
//!
//! What is missing is made again. The annotation `apf.kubernetes.io/autoupdate-spec` says whether the
//! server keeps a spec as it is there: `true` and it does, `false` and the cluster does; without it an
//! untouched object is the server's. The mandatory ones always are. An object that says `true` and is
//! none of these was one of an older server, and goes.

use http::Method;
use serde_json::Value;

use super::follow::{kinds, sync};
use crate::api::bootstrap::{BootstrapError, change};
use crate::api::dispatch::Internal;
use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::value::{integer, is_deleting, name, object, text};
use crate::registry::flowcontrol::defaults::{self, AUTOUPDATE};

/// Under which name they are written, as Kubernetes does.
const MANAGER: &str = "api-priority-and-fairness-config-producer-v1";

/// What is to be done about an object.
#[derive(Debug, PartialEq)]
enum Act {
    Create(Value),
    Replace(Value),
    Remove(String),
}

/// One round.
///
/// # Errors
/// The first request that the API refuses.
pub(in crate::api) async fn ensure(
    client: &Internal,
    server: &Server,
) -> Result<(), BootstrapError> {
    let (Some(_), Some([schemas, levels])) = (server.fairness.as_fair(), kinds(server)) else {
        return Ok(());
    };
    // Levels first: no schema is to lead nowhere meanwhile.
    for (target, wanted) in [
        (levels, defaults::priority_levels()),
        (schemas, defaults::flow_schemas()),
    ] {
        let stored = server.store.snapshot(target.resource).objects;
        let stored: Vec<Value> = stored.iter().map(|(_, object)| object.value()).collect();
        let acts = plan(&stored, &wanted);
        // At once, so that a start waits for the disk once.
        let done = acts.iter().map(|act| carry_out(client, target, act));
        futures_util::future::try_join_all(done).await?;
    }
    sync(server);
    Ok(())
}

async fn carry_out(client: &Internal, target: Target, act: &Act) -> Result<(), BootstrapError> {
    let collection = format!("/apis/{}/{}", target.api_version(), target.kind.plural);
    let manager = format!("fieldManager={MANAGER}");
    match act {
        Act::Create(object) => {
            let path = format!("{collection}?{manager}");
            change(client, Method::POST, &path, Some(object)).await
        }
        Act::Replace(object) => {
            let path = format!("{collection}/{}?{manager}", name(object));
            change(client, Method::PUT, &path, Some(object)).await
        }
        Act::Remove(name) => {
            change(
                client,
                Method::DELETE,
                &format!("{collection}/{name}"),
                None,
            )
            .await
        }
    }
}

fn plan(stored: &[Value], wanted: &[Value]) -> Vec<Act> {
    let is = |one: &Value, other: &Value| name(one) == name(other);
    let own = wanted
        .iter()
        .filter_map(|want| match stored.iter().find(|have| is(have, want)) {
            None => Some(Act::Create(want.clone())),
            Some(have) if is_deleting(have) => None,
            Some(have) => keep(have, want).map(Act::Replace),
        });
    let foreign = stored.iter().filter(|have| {
        let known = wanted.iter().any(|want| is(have, want));
        !known && !is_deleting(have) && autoupdate(have) == Some(true)
    });
    let foreign = foreign.map(|have| Act::Remove(name(have).to_owned()));
    own.chain(foreign).collect()
}

/// What the annotation says, if it says anything.
fn autoupdate(object: &Value) -> Option<bool> {
    let annotation = object
        .get("metadata")?
        .get("annotations")?
        .get(AUTOUPDATE)?;
    match annotation.as_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The object as it has to be; none if it is so already.
fn keep(have: &Value, want: &Value) -> Option<Value> {
    let untouched = integer(have, "/metadata/generation") == Some(1);
    let says = autoupdate(have);
    let mandatory = defaults::is_mandatory(name(have));
    let ours = mandatory || says.unwrap_or(untouched);
    let mut new = have.clone();
    if says != Some(ours) {
        let annotations = object(&mut new["metadata"], "annotations");
        annotations.insert(AUTOUPDATE.into(), ours.to_string().into());
    }
    if ours {
        let mut spec = want["spec"].clone();
        if text(want, "/spec/type") == "Exempt" && have["spec"]["exempt"].is_object() {
            // What it lends and takes is the cluster's business.
            spec["exempt"] = have["spec"]["exempt"].clone();
        }
        if have["spec"] != spec {
            new["spec"] = spec;
        }
    }
    (new != *have).then_some(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(want: &Value, generation: i64, says: Option<&str>, spec: &Value) -> Value {
        let mut have = want.clone();
        have["metadata"]["generation"] = generation.into();
        have["metadata"]["annotations"] = match says {
            Some(says) => json!({AUTOUPDATE: says}),
            None => json!({}),
        };
        have["spec"] = spec.clone();
        have
    }

    fn level(name: &str) -> Value {
        defaults::named(defaults::priority_levels(), name).unwrap()
    }

    #[test]
    fn the_annotation_says_whose_a_spec_is() {
        let want = level("system");
        let mut other = want["spec"].clone();
        other["limited"]["nominalConcurrencyShares"] = 99.into();
        for (says, generation, ours) in [
            (Some("true"), 2, true),
            (Some("false"), 1, false),
            (None, 1, true),
            (None, 2, false),
            (Some("perhaps"), 2, false),
        ] {
            let have = stored(&want, generation, says, &other);
            let new = keep(&have, &want).unwrap_or_else(|| have.clone());
            assert_eq!(new["spec"] == want["spec"], ours, "{says:?} {generation}");
            let annotation = &new["metadata"]["annotations"][AUTOUPDATE];
            assert_eq!(annotation, &json!(ours.to_string()));
            assert_eq!(keep(&new, &want), None);
        }
    }

    #[test]
    fn what_is_mandatory_is_always_the_servers() {
        let want = level("catch-all");
        let mut other = want["spec"].clone();
        other["limited"]["nominalConcurrencyShares"] = 99.into();
        let have = stored(&want, 5, Some("false"), &other);
        let new = keep(&have, &want).unwrap();
        assert_eq!(
            (&new["spec"], autoupdate(&new)),
            (&want["spec"], Some(true))
        );
        // But for what the exempt level takes and lends.
        let want = level("exempt");
        let mut other = want["spec"].clone();
        other["exempt"]["nominalConcurrencyShares"] = 7.into();
        assert_eq!(keep(&stored(&want, 5, Some("true"), &other), &want), None);
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_left_over_goes() {
        let wanted = defaults::flow_schemas();
        let made = plan(&[], &wanted);
        assert_eq!(made.len(), wanted.len());
        let mut old = wanted[2].clone();
        old["metadata"]["name"] = "old".into();
        let mut foreign = old.clone();
        foreign["metadata"] = json!({"name": "foreign"});
        let mut stored = wanted.clone();
        stored.extend([old, foreign]);
        assert_eq!(plan(&stored, &wanted), [Act::Remove("old".to_owned())]);
    }
}
