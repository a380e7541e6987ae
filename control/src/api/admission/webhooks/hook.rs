//! What a webhook configuration says.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use super::super::conditions::Conditions;
use super::super::matching::Match;
use crate::api::remote::Remote;
use crate::api::server::Server;
use crate::api::value::{integer, items, name, text};
use crate::store::{Objects, Resource};

/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 3 << 20;

/// One registered hook.
pub(in super::super) struct Hook {
    pub(super) name: String,
    /// The name of the configuration that registers it.
    pub(super) configuration: String,
    /// How many hooks come before it.
    pub(super) place: usize,
    pub(super) matching: Match,
    pub(super) conditions: Conditions,
    /// Whether the write happens without it.
    pub(super) ignore: bool,
    /// Whether it may be asked about writes that do not happen.
    pub(super) dry: bool,
    /// Whether it wants to see what others make of the object after it.
    pub(super) reinvoke: bool,
    pub(super) remote: Remote,
    /// Whether it understands v1.
    pub(super) current: bool,
}

impl Hook {
    fn read(place: usize, configuration: &str, hook: &Value) -> Hook {
        Hook {
            name: text(hook, "/name").to_owned(),
            configuration: configuration.to_owned(),
            place,
            matching: Match::of_hook(hook),
            conditions: Conditions::read(hook),
            ignore: text(hook, "/failurePolicy") == "Ignore",
            dry: matches!(text(hook, "/sideEffects"), "None" | "NoneOnDryRun"),
            reinvoke: text(hook, "/reinvocationPolicy") == "IfNeeded",
            remote: Remote::read(&hook["clientConfig"], timeout(hook), MAX_ANSWER),
            current: items(hook, "/admissionReviewVersions").contains(&"v1".into()),
        }
    }
}

fn timeout(hook: &Value) -> Duration {
    let seconds = integer(hook, "/timeoutSeconds").unwrap_or(10);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(10).clamp(1, 30))
}

/// The hooks of all configurations of a kind, compiled by the first write after one has changed.
pub(super) struct Index {
    resource: Option<Resource>,
    made: Mutex<(Objects, Arc<[Arc<Hook>]>)>,
}

impl Index {
    pub(super) fn new(resource: Option<Resource>) -> Self {
        Self {
            resource,
            made: Mutex::new((Objects::new(), Arc::default())),
        }
    }

    fn objects(&self, server: &Server) -> Objects {
        let snapshot = self.resource.map(|it| server.store.snapshot(it).objects);
        snapshot.unwrap_or_default()
    }

    pub(super) fn is_empty(&self, server: &Server) -> bool {
        self.objects(server).is_empty()
    }

    /// In the order of the names of their configurations.
    pub(super) fn hooks(&self, server: &Server) -> Arc<[Arc<Hook>]> {
        let now = self.objects(server);
        let mut made = self.made.lock();
        if !made.0.ptr_eq(&now) {
            let configurations = now.iter().map(|(_, object)| object.value());
            let mut configurations: Vec<Value> = configurations.collect();
            configurations.sort_by(|one, other| name(one).cmp(name(other)));
            let hooks = configurations
                .iter()
                .flat_map(|it| items(it, "/webhooks").iter().map(|hook| (name(it), hook)))
                .enumerate()
                .map(|(place, (configuration, hook))| {
                    Arc::new(Hook::read(place, configuration, hook))
                });
            *made = (now, hooks.collect());
        }
        made.1.clone()
    }
}

#[cfg(test)]
impl Hook {
    /// A hook that a test has written down.
    pub(super) fn of(hook: &Value) -> Hook {
        Hook::read(0, "", hook)
    }
}
