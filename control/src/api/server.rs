//! What every handler shares.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::addresses::{AddressPlan, Addresses};
use super::admission::{Desks, Hooks, Policies};
use super::aggregation::{Extensions, FrontProxy};
use super::audit::Audit;
use super::authn::{Oidc, StaticTokens, User, bootstrap};
use super::authz::{Facts, Grant, Grants};
use super::custom::{CustomKinds, Made};
use super::discovery::Discovery;
use super::fairness::Fairness;
use super::kinds::{Kinds, Target};
use super::metrics::Requests;
use super::pages::Pages;
use super::proxy::NodeClient;
use super::selectors::FieldSelector;
use super::tokens::{Claims, ISSUER, Tokens};
use super::value::{key, text};
use crate::store::Store;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address under which clients reach the server.
    pub advertise_address: IpAddr,
    /// Port under which clients reach the server.
    pub advertise_port: u16,
    /// Where cluster addresses and node ports come from.
    pub plan: AddressPlan,
    /// Certificate of the cluster's authority, PEM, as pods get it.
    pub authority: String,
    /// Whether who shows a bootstrap token is known.
    pub bootstrap_tokens: bool,
    /// What the Pod Security Standards are not asked of.
    pub exempt: super::admission::Exemptions,
}

/// The API server without its sockets.
pub struct Server {
    pub(super) store: Store,
    pub(super) kinds: Kinds,
    pub(super) tokens: Tokens,
    pub(super) static_tokens: StaticTokens,
    pub(super) oidc: Option<Arc<Oidc>>,
    pub(super) addresses: Addresses,
    pub(super) pages: Pages,
    /// Replaced when custom kinds come and go.
    pub(super) discovery: ArcSwap<Discovery>,
    pub(super) custom: ArcSwap<CustomKinds>,
    pub(super) made: Made,
    /// Servers of other versions, replaced when one comes, goes or changes its mind.
    pub(super) extensions: ArcSwap<Extensions>,
    /// Told when custom kinds have come or gone.
    pub(super) republished: Notify,
    /// Held while discovery is made anew.
    pub(super) rediscovering: Mutex<()>,
    /// As whom other servers are asked.
    pub(super) front: Option<FrontProxy>,
    pub(super) desks: Desks,
    pub(super) hooks: Hooks,
    pub(super) policies: Policies,
    pub(super) grants: Grants,
    pub(super) nodes: NodeClient,
    pub(super) config: ServerConfig,
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) fairness: Fairness,
    /// Requests as they are counted.
    pub(super) requests: Requests,
    /// Cancelled when the process stops: watches end.
    pub(super) stopping: CancellationToken,
}

impl Server {
    /// A server over an open store that was opened with the resources of `kinds`.
    pub fn new(
        store: Store,
        kinds: Kinds,
        tokens: Tokens,
        static_tokens: StaticTokens,
        nodes: NodeClient,
        config: ServerConfig,
        stopping: CancellationToken,
    ) -> Self {
        let addresses = Addresses::new(config.plan.clone());
        if let Some(services) = kinds.of("", "services") {
            for (key, service) in store.snapshot(services.resource).objects.iter() {
                addresses.adopt(key, &service.value());
            }
        }
        let discovery = Discovery::new(kinds.0.iter().copied());
        let pages = Pages::default();
        let hooks = Hooks::new(&kinds);
        let policies = Policies::new(&kinds);
        Self {
            store,
            kinds,
            tokens,
            static_tokens,
            oidc: None,
            addresses,
            pages,
            discovery: ArcSwap::from_pointee(discovery),
            custom: ArcSwap::default(),
            made: Made::default(),
            extensions: ArcSwap::default(),
            republished: Notify::new(),
            rediscovering: Mutex::default(),
            front: None,
            desks: Desks::default(),
            hooks,
            policies,
            grants: Grants::default(),
            nodes,
            config,
            audit: None,
            fairness: Fairness::default(),
            requests: Requests::default(),
            stopping,
        }
    }

    /// The same server, which records requests.
    #[must_use]
    pub fn audited(mut self, audit: Option<Audit>) -> Self {
        self.audit = audit.map(Arc::new);
        self
    }

    /// The same server, which divides itself like that.
    #[must_use]
    pub fn divided(mut self, fairness: Fairness) -> Self {
        self.fairness = fairness;
        self
    }

    /// The same server, which believes an issuer of OpenID Connect.
    #[must_use]
    pub fn believing(mut self, oidc: Option<Arc<Oidc>>) -> Self {
        self.oidc = oidc;
        self
    }

    /// Where cluster addresses come from and so on.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The kind of a path, whether of the API or brought along.
    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Target> {
        let own = self.kinds.find(group, version, plural);
        own.or_else(|| self.custom.load().find(group, version, plural))
    }

    pub(super) fn core(&self, plural: &str) -> Option<Target> {
        self.kinds.of("", plural)
    }

    /// A stored object of the core group.
    pub(super) fn stored(
        &self,
        plural: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Value> {
        let target = self.core(plural)?;
        Some(
            self.store
                .get(target.resource, &key(namespace, name))?
                .value(),
        )
    }

    /// Whose token it is, if it is one that this server takes for its own requests.
    pub(super) async fn bearer(&self, token: &str) -> Option<User> {
        let account = || self.account(token, &[ISSUER.to_owned()]);
        let user = self.static_tokens.user(token);
        let user = user.or_else(|| self.bootstrap_user(token));
        match (user.or_else(|| account().map(|it| it.user())), &self.oidc) {
            (None, Some(oidc)) => oidc.user(token).await,
            (user, _) => user,
        }
    }

    fn bootstrap_user(&self, token: &str) -> Option<User> {
        let find = |name: &str| self.stored("secrets", Some("kube-system"), name);
        let user = || bootstrap::user(token, Timestamp::now(), find);
        self.config.bootstrap_tokens.then(user).flatten()
    }

    /// What a service account token says that is meant for one of `audiences` and whose account (and
    /// pod) still exist.
    pub(super) fn account(&self, token: &str, audiences: &[String]) -> Option<Claims> {
        let claims = self.tokens.verify(token, audiences)?;
        let account = &claims.account;
        let namespace = Some(account.namespace.as_str());
        let lives = |plural: &str, bound: &super::tokens::Bound| {
            let object = self.stored(plural, namespace, &bound.name);
            object.is_some_and(|object| text(&object, "/metadata/uid") == bound.uid)
        };
        let live = lives("serviceaccounts", &account.serviceaccount)
            && account.pod.as_ref().is_none_or(|pod| lives("pods", pod));
        live.then_some(claims)
    }
}

impl Facts for Server {
    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.stored("pods", Some(namespace), name)
    }

    fn granted(&self, user: &User, namespace: Option<&str>) -> Vec<Grant> {
        self.grants.index(self).of_user(user, namespace)
    }

    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Value> {
        let selector = format!("spec.nodeName={node}");
        let Some(pods) = self.core("pods").filter(|_| !namespace.is_empty()) else {
            return Vec::new();
        };
        let Ok(bound) = FieldSelector::parse(&selector, &pods.kind.labels()) else {
            return Vec::new();
        };
        let snapshot = self.store.snapshot(pods.resource);
        let there = snapshot.range(Some(namespace), None);
        there
            .filter(|(key, pod)| bound.matches(key, &pod.selectable))
            .map(|(_, pod)| pod.value())
            .collect()
    }
}
