//! Versions of groups that other servers serve: what APIServices say, and the servers behind them.
//!
//! One task ([`run`]) follows the APIServices and the Services that they name. Each round writes the
//! APIServices of the groups that are served here (`local`), asks each other server whether it
//! answers (`check`), and writes what it found into their status. Requests find the servers in
//! [`Extensions`], which is swapped as a whole; they are sent on under the front proxy's certificate
//! with their user in headers (`forward`). Discovery and OpenAPI hold what was learnt last
//! (`merge`).
//!
//! What it will not do: give away a version that the server has itself; custom kinds do give way.

mod check;
mod extension;
mod forward;
mod local;
mod merge;

pub(super) use extension::Extensions;
pub(super) use forward::forward;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::client::ResolvesClientCert;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::check::Condition;
use super::admission::Request;
use super::discovery::Discovery;
use super::kinds::Target;
use super::managed::{Trace, Writer};
use super::server::Server;
use super::value::{name, text, timestamp};
use super::write::Part;
use crate::store::Watcher;

/// Time between looks at servers that answer.
const LOOK: Duration = Duration::from_secs(10);
/// Time between looks where one does not.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(50);

/// The identity under which other servers are asked.
pub struct FrontProxy {
    /// The certificate of its authority, PEM, which is none that clients of this server have.
    pub authority: String,
    /// The certificate of the moment.
    pub shown: Arc<dyn ResolvesClientCert>,
}

/// The name in the front proxy's certificate.
pub const FRONT_PROXY: &str = "front-proxy-client";

/// What extension servers read to know whom to believe about their callers: the data of
/// `kube-system/extension-apiserver-authentication`.
pub(super) fn trust(front: &FrontProxy, clients: &str) -> Value {
    json!({
        "client-ca-file": clients,
        "requestheader-client-ca-file": front.authority,
        "requestheader-allowed-names": format!("[{FRONT_PROXY:?}]"),
        "requestheader-username-headers": "[\"X-Remote-User\"]",
        "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
    })
}

/// Follows the APIServices until `stopping`.
pub async fn run(server: Arc<Server>, stopping: CancellationToken) {
    let Some(target) = services(&server) else {
        return;
    };
    let watchers = |targets: &[Option<Target>]| -> Vec<Watcher> {
        let targets = targets.iter().flatten();
        let watch = |target: &Target| server.store.snapshot_and_watch(target.resource).1;
        targets.map(watch).collect()
    };
    let mut own = watchers(&[Some(target)]);
    let mut ends = watchers(&[server.core("services"), server.core("endpoints")]);
    let rounds = async move {
        loop {
            own.iter_mut().chain(&mut ends).for_each(drain);
            let wait = match sync(&server, target).await {
                Left::Nobody => None,
                Left::Well => Some(LOOK),
                Left::Ill => Some(LOOK_AGAIN),
            };
            // Of Services it is only news where somebody is behind one.
            let watched = if wait.is_some() {
                &mut ends[..]
            } else {
                &mut []
            };
            let watched = own.iter_mut().chain(watched);
            let changes = watched.map(|it| Box::pin(it.changed()));
            let changes = futures_util::future::select_all(changes);
            let news = async {
                tokio::select! {
                    _ = changes => {}
                    () = server.republished.notified() => {}
                }
                tokio::time::sleep(GATHER).await;
            };
            match wait {
                None => news.await,
                Some(wait) => drop(tokio::time::timeout(wait, news).await),
            }
        }
    };
    stopping.run_until_cancelled(rounds).await;
}

/// What has happened until now is in the next round.
fn drain(watcher: &mut Watcher) {
    while watcher.poll().is_ok_and(|(events, _)| !events.is_empty()) {}
}

fn services(server: &Server) -> Option<Target> {
    server.kinds.of("apiregistration.k8s.io", "apiservices")
}

/// What a round leaves behind.
enum Left {
    /// There is no other server.
    Nobody,
    /// All others answer.
    Well,
    /// Some do not.
    Ill,
}

async fn sync(server: &Server, target: Target) -> Left {
    local::sync(server, target).await;
    let all = server.store.snapshot(target.resource).objects;
    let all: Vec<Value> = all.iter().map(|(_, object)| object.value()).collect();
    let (local, remote): (Vec<&Value>, Vec<&Value>) = all
        .iter()
        .partition(|service| !service["spec"]["service"].is_object());
    for service in local {
        report(server, target, service, Condition::local()).await;
    }
    let before = server.extensions.load_full();
    let mut looks = Vec::new();
    for service in &remote {
        looks.push(check::look(server, before.known(server, service)));
    }
    let looks = join_all(looks).await;
    let ill = looks.iter().any(|(extension, _)| !extension.available);
    let (extensions, conditions): (Vec<_>, Vec<_>) = looks.into_iter().unzip();
    publish(server, Extensions::new(extensions));
    for (service, condition) in remote.iter().zip(conditions) {
        report(server, target, service, condition).await;
    }
    match (remote.is_empty(), ill) {
        (true, _) => Left::Nobody,
        (false, false) => Left::Well,
        (false, true) => Left::Ill,
    }
}

/// Sends requests to these servers from now on.
fn publish(server: &Server, extensions: Extensions) {
    if extensions.same(&server.extensions.load()) {
        return;
    }
    tracing::info!(
        servers = extensions.len(),
        "versions of other servers are served"
    );
    server.extensions.store(Arc::new(extensions));
    server.rediscover();
}

impl Server {
    /// The same server, which sends requests on to others as `front`.
    #[must_use]
    pub fn fronted(mut self, front: FrontProxy) -> Self {
        self.front = Some(front);
        self
    }

    /// Makes discovery anew from what is served now.
    pub(super) fn rediscover(&self) {
        let _one_at_a_time = self.rediscovering.lock();
        let (custom, extensions) = (self.custom.load(), self.extensions.load());
        let kinds = self.kinds.0.iter().copied().chain(custom.kinds());
        let mut discovery = Discovery::new(kinds);
        merge::discovery(&mut discovery, &extensions);
        self.discovery.store(Arc::new(discovery));
    }
}

/// Writes a condition into the status of an APIService where it is news.
async fn report(server: &Server, target: Target, service: &Value, condition: Condition) {
    let now = timestamp(jiff::Timestamp::now());
    let status = condition.status(service, &now);
    if service.get("status") == Some(&status) {
        return;
    }
    let writer = Writer::of(Some("naru-control"), None, "", Part::Status);
    let candidate = |old: &Value| {
        let mut new = old.clone();
        new["status"] = condition.status(old, &now);
        Ok(new)
    };
    let (trace, own) = (Trace::Update(&writer), Request::own(target));
    let key = name(service);
    let written = server
        .modify(target, key, Part::Status, &own, trace, &candidate)
        .await;
    match written {
        Err(status) if status.code != 404 => {
            let why = status.message;
            tracing::warn!(service = key, why, "the status is not written");
        }
        _ => {
            let reason = text(&status, "/conditions/0/reason");
            tracing::debug!(service = key, reason, "availability");
        }
    }
}
