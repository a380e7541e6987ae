//! Writes the rules that a ClusterRole gathers from others by their labels into it
//! (`aggregationRule`), where everybody finds them: authorization, `kubectl describe`, and whoever
//! checks what may be granted. What somebody else writes there is replaced.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::Context;
use super::runtime::{After, Key, Queue, Reconcile, ReconcileError};

/// The reconciler of roles that gather others.
pub struct Gatherer {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Gatherer {
    /// Subscribes to ClusterRoles: each that changes may be gathered by any other.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.roles.subscribe(move |_| {
            if let Some(this) = weak.upgrade() {
                this.keys().into_iter().for_each(|key| this.queue.add(key));
            }
        });
        this
    }
}

/// The rules that `role` should have, of `all` roles in the order of their names, each once; none if
/// it gathers nothing.
fn gathered(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let rule = role.aggregation_rule.as_ref()?;
    let selectors = rule.cluster_role_selectors.iter().flatten();
    let mut rules = Vec::new();
    for selector in selectors.filter_map(|it| Selector::try_from(it.clone()).ok()) {
        let others = all.iter().filter(|it| it.name_any() != role.name_any());
        for other in others.filter(|it| selector.matches(it.labels())) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

impl Reconcile for Gatherer {
    type Key = Key;
    const NAME: &'static str = "clusterrole-aggregation";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    /// The roles that gather others.
    fn keys(&self) -> Vec<Key> {
        let roles = self.context.caches.roles.all();
        let gathering = roles.iter().filter(|role| role.aggregation_rule.is_some());
        gathering.map(|role| Key::of(role.as_ref())).collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let roles = &self.context.caches.roles;
        let Some(role) = roles.at(key) else {
            return Ok(After::Settled);
        };
        let Some(rules) = gathered(&role, &roles.all()) else {
            return Ok(After::Settled);
        };
        if rules != role.rules.clone().unwrap_or_default() {
            let wanted = ClusterRole {
                rules: Some(rules),
                ..(*role).clone()
            };
            self.context.writer.update(role.as_ref(), &wanted).await?;
        }
        Ok(After::Settled)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn role(name: &str, labels: Value, verbs: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<Value> = verbs.iter().map(|verb| json!({"verbs": [verb]})).collect();
        let role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        Arc::new(serde_json::from_value(role).unwrap())
    }

    #[test]
    fn a_role_gathers_what_its_selectors_select_each_rule_once_and_nothing_of_its_own() {
        let mut gathering = (*role("g", json!({"to": "x"}), &["own"])).clone();
        assert_eq!(gathered(&gathering, &[]), None);
        let rule = json!({"clusterRoleSelectors": [
            {"matchLabels": {"to": "y"}}, {"matchLabels": {"to": "x"}}]});
        gathering.aggregation_rule = Some(serde_json::from_value(rule).unwrap());
        let all = [
            role("a", json!({"to": "x"}), &["get", "list"]),
            role("b", json!({"to": "z"}), &["delete"]),
            role("c", json!({"to": "y"}), &["watch", "get"]),
            Arc::new(gathering.clone()),
        ];
        let rules = gathered(&gathering, &all).unwrap();
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["watch", "get", "list"]);
    }
}
