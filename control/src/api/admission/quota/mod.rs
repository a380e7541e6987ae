//! ResourceQuota: what is made is charged against the quotas of its namespace, and what would exceed
//! one is refused. It is asked last, so that nothing is charged which somebody else refuses.
//!
//! Charges of a namespace are settled in batches, one batch at a time (`desk`), and written under the
//! version of the quota that they were decided on: neither many writers here nor another server can
//! exceed a quota together. What is charged and then not made after all (its name was taken) stays
//! charged until the controller has counted again (`controllers/quota`).

mod book;
mod desk;
#[cfg(test)]
mod tests;

pub(in crate::api) use desk::Desks;

use std::collections::BTreeSet;

use serde_json::Value;

use self::book::Book;
use self::desk::Charge;
use super::request::Request;
use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, name, namespace};
use crate::measure::{self, Amounts};

/// Charges a new object, or what an update adds to one.
///
/// # Errors
/// 403 naming the quota, what was requested, used and limited.
pub(super) async fn charge(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if !target.kind.namespaced || server.desks.are_idle(server) {
        return Ok(());
    }
    let quotas = Book::all(server, namespace(new));
    let usage = request.uncharged(added(target, new, old));
    let refused = |why: String| Status::forbidden_object(target.kind, called(new), &why);
    let mut concerned = false;
    for quota in &quotas {
        if quota.concerns(target, new, &usage) {
            quota.checks(target, new, old).map_err(refused)?;
            concerned = true;
        }
    }
    if !concerned {
        return Ok(());
    }
    let charge = Charge {
        target,
        object: new.clone(),
        usage: usage.clone(),
        dry: request.dry,
    };
    let settled = server.desks.settle(server, namespace(new), charge).await?;
    settled.map_err(refused)?;
    request.note_charged(&usage);
    Ok(())
}

/// What a write adds to what is used.
fn added(target: Target, new: &Value, old: Option<&Value>) -> Amounts {
    let of = |object| measure::of(target.kind.group, target.kind.plural, object);
    let mut usage = of(new);
    let before = old.map(of).unwrap_or_default();
    for (name, amount) in &mut usage {
        if let Some(had) = before.get(name) {
            *amount = *amount - *had;
        }
    }
    usage.retain(|_, amount| !amount.is_negative() && !amount.is_zero());
    usage
}

impl Book {
    /// Whether this quota bounds anything that the object uses.
    fn concerns(&self, target: Target, object: &Value, usage: &Amounts) -> bool {
        let kind = target.kind;
        let bounded = self.bounded();
        let asks = usage.keys().any(|name| bounded.contains(name.as_str()));
        let silent = (kind.group, kind.plural) == ("", "pods")
            && measure::COMPUTE.iter().any(|name| bounded.contains(name));
        (asks || silent) && measure::applies(&self.quota, kind.group, kind.plural, object)
    }

    /// Checks that a new pod says what this quota adds up.
    fn checks(
        &self,
        target: Target,
        new: &Value,
        old: Option<&Value>,
    ) -> std::result::Result<(), String> {
        if old.is_some() || (target.kind.group, target.kind.plural) != ("", "pods") {
            return Ok(());
        }
        match measure::missing(new, &self.bounded()) {
            Some(missing) => {
                let quota = name(&self.quota);
                Err(format!("failed quota: {quota}: must specify {missing}"))
            }
            None => Ok(()),
        }
    }

    /// The names of what it bounds.
    fn bounded(&self) -> BTreeSet<&str> {
        let hard = self.quota.pointer("/spec/hard").and_then(Value::as_object);
        let hard = hard.into_iter().flatten();
        hard.map(|(name, _)| name.as_str()).collect()
    }
}
