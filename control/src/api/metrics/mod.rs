//! `GET /metrics`: the server in the text format of Prometheus, under the names of kube-apiserver
//! where it has the same thing.
//!
//! Counted on the way of a request are the requests themselves ([`Requests`]); everything else is
//! read where it is kept when somebody asks. No label comes from a client. The path is granted by
//! name (`system:monitoring`).
//!
//! Not here: what etcd says about itself, and the controllers.

mod page;
mod process;
mod requests;
mod series;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::body::{Reply, full, reply};
use super::server::Server;
use super::status::{Result, Status};
use page::Page;
pub(super) use requests::Requests;

/// Where it is.
pub(super) const PATH: &str = "/metrics";

/// Answers with everything.
///
/// # Errors
/// 405 for anything but reading.
pub(super) fn answer(server: &Server, method: &Method) -> Result<Reply> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let mut page = Page::default();
    server.requests.write(&mut page);
    levels(server, &mut page);
    store(server, &mut page);
    process::write(&mut page);
    Ok(reply(
        StatusCode::OK,
        page::CONTENT_TYPE,
        full(page.into_text()),
    ))
}

fn store(server: &Server, page: &mut Page) {
    let name = "apiserver_storage_objects";
    page.family(name, "gauge", "Stored objects by resource.");
    for (resource, count) in objects(server) {
        page.sample(name, &[("resource", &resource)], count);
    }
    if let Some(bytes) = server.store.file_bytes() {
        let name = "apiserver_storage_size_bytes";
        page.family(name, "gauge", "Size of the store's database file.");
        page.sample(name, &[("storage_cluster_id", "embedded")], bytes);
    }
}

/// Objects by resource. A version that is kept in the form of another one has none of its own.
fn objects(server: &Server) -> BTreeMap<Arc<str>, usize> {
    let keeps = |index: usize| {
        let kind = server.kinds.0.get(index);
        kind.is_none_or(|kind| kind.stored_as.is_none())
    };
    let mut objects = BTreeMap::new();
    for (index, (resource, count)) in server.store.counts().into_iter().enumerate() {
        if keeps(index) {
            *objects.entry(resource).or_default() += count;
        }
    }
    objects
}

fn levels(server: &Server, page: &mut Page) {
    let levels = server.fairness.measured();
    for (name, kind, help, value) in super::fairness::MEASURES {
        let name = format!("apiserver_flowcontrol_{name}");
        page.family(&name, kind, help);
        for (level, measured) in &levels {
            if let Some(value) = value(measured) {
                page.sample(&name, &[("priority_level", level)], value);
            }
        }
    }
}
