//! One quota while charges are settled against it.

use std::sync::Arc;

use serde_json::Value;

use super::desk::Charge;
use crate::api::server::Server;
use crate::api::value::{name, object};
use crate::measure::{Amounts, amounts, applies};

/// A quota at the version at which it was read.
pub(super) struct Book {
    pub(super) key: Arc<str>,
    pub(super) revision: u64,
    pub(super) quota: Value,
    /// Whether something was added.
    pub(super) changed: bool,
}

/// What a charge would make of a quota.
pub(super) enum Verdict {
    /// Nothing: it bounds nothing that the charge is about.
    Unconcerned,
    /// This is used then.
    Used(Amounts),
}

impl Book {
    /// The quotas of a namespace.
    pub(super) fn all(server: &Server, place: &str) -> Vec<Book> {
        let Some(quotas) = server.core("resourcequotas") else {
            return Vec::new();
        };
        let snapshot = server.store.snapshot(quotas.resource);
        let open = |(key, stored): (&str, &crate::store::Object)| Book {
            key: key.into(),
            revision: stored.revision,
            quota: stored.value(),
            changed: false,
        };
        snapshot.range(Some(place), None).map(open).collect()
    }

    /// What a charge would make of this quota.
    ///
    /// # Errors
    /// What is exceeded, or not yet counted.
    pub(super) fn judge(&self, charge: &Charge) -> Result<Verdict, String> {
        let kind = charge.target.kind;
        if !applies(&self.quota, kind.group, kind.plural, &charge.object) {
            return Ok(Verdict::Unconcerned);
        }
        let hard = amounts::read(self.quota.pointer("/spec/hard"));
        let mut asked = charge.usage.clone();
        asked.retain(|name, _| hard.contains_key(name));
        if asked.is_empty() {
            return Ok(Verdict::Unconcerned);
        }
        let mut used = amounts::read(self.quota.pointer("/status/used"));
        let known = |name: &&String| used.contains_key(*name);
        let unknown: Vec<&str> = asked
            .keys()
            .filter(|name| !known(name))
            .map(String::as_str)
            .collect();
        let called = name(&self.quota);
        if !unknown.is_empty() {
            let unknown = unknown.join(",");
            return Err(format!(
                "status unknown for quota: {called}, resources: {unknown}"
            ));
        }
        let before = used.clone();
        amounts::add(&mut used, &asked);
        let exceeded: Vec<&String> = asked
            .keys()
            .filter(|name| used[*name] > hard[*name])
            .collect();
        if exceeded.is_empty() {
            return Ok(Verdict::Used(used));
        }
        let show = |amounts: &Amounts| {
            let pairs = exceeded
                .iter()
                .map(|name| format!("{name}={}", amounts[*name]));
            pairs.collect::<Vec<_>>().join(",")
        };
        let (asked, used, limited) = (show(&asked), show(&before), show(&hard));
        Err(format!(
            "exceeded quota: {called}, requested: {asked}, used: {used}, limited: {limited}"
        ))
    }

    /// Writes down what is used.
    pub(super) fn write(&mut self, used: &Amounts) {
        let shown = used
            .iter()
            .map(|(name, amount)| (name.clone(), Value::from(amount.to_string())));
        let shown: serde_json::Map<_, _> = shown.collect();
        object(&mut self.quota, "status").insert("used".into(), shown.into());
        self.changed = true;
    }
}
