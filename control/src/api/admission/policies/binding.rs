//! Where a policy holds, and with which parameters.

use serde_json::Value;

use super::super::matching::{Match, Selector};
use super::policy::ParameterKind;
use crate::api::kinds::{Target, api_version};
use crate::api::server::Server;
use crate::api::value::{items, key, name, text};

/// A binding of a policy.
pub(super) struct Binding {
    pub(super) name: String,
    /// The policy's name.
    pub(super) policy: String,
    pub(super) matching: Match,
    pub(super) denies: bool,
    pub(super) warns: bool,
    pub(super) audits: bool,
    reference: Option<Reference>,
}

/// Which parameters are meant.
struct Reference {
    name: String,
    namespace: String,
    selector: Option<Selector>,
    /// Whether nothing is checked where there are none.
    may_be_missing: bool,
}

impl Binding {
    pub(super) fn read(binding: &Value) -> Binding {
        let spec = binding.get("spec").cloned().unwrap_or_default();
        let does = |action: &str| {
            items(&spec, "/validationActions")
                .iter()
                .any(|it| it == action)
        };
        let reference = spec.get("paramRef").filter(|it| it.is_object());
        Binding {
            name: name(binding).to_owned(),
            policy: text(&spec, "/policyName").to_owned(),
            matching: Match::of_policy(&spec["matchResources"]),
            denies: does("Deny"),
            warns: does("Warn"),
            audits: does("Audit"),
            reference: reference.map(Reference::read),
        }
    }

    /// What is done about violations, in Kubernetes' words.
    pub(super) fn actions(&self) -> Vec<&'static str> {
        let all = [
            ("Audit", self.audits),
            ("Deny", self.denies),
            ("Warn", self.warns),
        ];
        let done = all.into_iter().filter(|(_, does)| *does);
        done.map(|(name, _)| name).collect()
    }

    /// The parameters with which an object of a namespace, or of the cluster where `place` is empty,
    /// is checked, each by itself; one that is none for a policy without.
    ///
    /// # Errors
    /// Why there are none although there should be.
    pub(super) async fn parameters(
        &self,
        server: &Server,
        wanted: Option<&ParameterKind>,
        place: &str,
    ) -> Result<Vec<Option<Value>>, String> {
        let (Some(wanted), Some(reference)) = (wanted, &self.reference) else {
            return Ok(vec![None]);
        };
        let (version, kind) = (&wanted.api_version, &wanted.kind);
        let failed = |why: &str| format!("failed to configure binding: {why}");
        let target = find(server, version, kind)
            .ok_or_else(|| failed(&format!("paramKind {version}, Kind={kind} not found")))?;
        let found = reference.objects(server, target, place).await;
        let found = found.map_err(|why| failed(&why))?;
        if found.is_empty() && !reference.may_be_missing {
            let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
            return Err(failed(why));
        }
        Ok(found.into_iter().map(Some).collect())
    }
}

fn find(server: &Server, version: &str, kind: &str) -> Option<Target> {
    let custom = server.custom.load();
    let mut all = server.kinds.0.iter().copied().chain(custom.kinds());
    let found = all.find(|it| it.kind == kind && api_version(it) == version)?;
    server.find(found.group, found.version, found.plural)
}

impl Reference {
    fn read(reference: &Value) -> Reference {
        let selector = reference.get("selector").filter(|it| !it.is_null());
        Reference {
            name: text(reference, "/name").to_owned(),
            namespace: text(reference, "/namespace").to_owned(),
            selector: selector.map(|selector| Selector::read(Some(selector))),
            may_be_missing: text(reference, "/parameterNotFoundAction") == "Allow",
        }
    }

    async fn objects(
        &self,
        server: &Server,
        target: Target,
        place: &str,
    ) -> Result<Vec<Value>, String> {
        let place = match self.namespace.as_str() {
            "" => place,
            own => own,
        };
        let place = target.kind.namespaced.then_some(place);
        if place == Some("") {
            return Err("namespaced paramKind without a namespace".to_owned());
        }
        let Some(selector) = &self.selector else {
            let key = key(place, &self.name);
            let stored = server.store.get(target.resource, &key);
            let stored = stored.iter().map(|stored| stored.value()).collect();
            return shown(server, target, stored).await;
        };
        let snapshot = server.store.snapshot(target.resource);
        let all = snapshot.range(place, None);
        let all = all.map(|(_, stored)| stored.value()).collect();
        let all = shown(server, target, all).await?.into_iter();
        Ok(all.filter(|it| selector.selects(it)).collect())
    }
}

async fn shown(server: &Server, target: Target, stored: Vec<Value>) -> Result<Vec<Value>, String> {
    let shown = server.shown(target, stored).await;
    shown.map_err(|status| status.message)
}
