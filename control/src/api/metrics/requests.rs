//! Requests as they are counted: of which sort, how they end, how long they take.
//!
//! A request pays for finding its sort, a shared lock around a table that is seldom written, and a few
//! additions; nothing is allocated but by the first one of a sort, and around answers that are still
//! being made when they begin.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::RwLock;

use super::page::Page;
use super::series::{Series, Sort};
use crate::api::body::{Body, BoxError, Reply};
use crate::api::request::{RequestInfo, ResourcePath};
use crate::api::server::Server;

/// The subresources that are counted by their names.
const SUBRESOURCES: [&str; 15] = [
    "approval",
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "finalize",
    "log",
    "portforward",
    "proxy",
    "resize",
    "scale",
    "status",
    "token",
    "",
];
/// Paths that are no resource's and are counted by their roots.
const ROOTS: [&str; 9] = [
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi",
    "/readyz",
    "/snapshot",
    "/version",
];

/// All requests so far.
#[derive(Default)]
pub(in crate::api) struct Requests {
    series: RwLock<HashMap<Sort, Arc<Series>, foldhash::fast::RandomState>>,
    /// Those under way that read, and that write.
    flying: Arc<[AtomicI64; 2]>,
}

/// A request under way.
pub(in crate::api) struct Measured {
    series: Arc<Series>,
    began: Instant,
    goes_on: bool,
    _flying: Option<Flying>,
}

/// Gives its place back.
struct Flying(Arc<[AtomicI64; 2]>, usize);

impl Drop for Flying {
    fn drop(&mut self) {
        self.0[self.1].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requests {
    /// A request begins.
    pub(in crate::api) fn begin(
        &self,
        server: &Server,
        method: &Method,
        headers: &HeaderMap,
        info: &RequestInfo,
    ) -> Measured {
        let goes_on = info.goes_on();
        let flying = (!goes_on).then(|| {
            let place = usize::from(!matches!(info.verb, "get" | "list"));
            self.flying[place].fetch_add(1, Ordering::Relaxed);
            Flying(self.flying.clone(), place)
        });
        Measured {
            series: self.of(sort(server, method, headers, info)),
            began: Instant::now(),
            goes_on,
            _flying: flying,
        }
    }

    fn of(&self, sort: Sort) -> Arc<Series> {
        if let Some(series) = self.series.read().get(&sort) {
            return series.clone();
        }
        self.series.write().entry(sort).or_default().clone()
    }

    /// Writes everything that is known.
    pub(super) fn write(&self, page: &mut Page) {
        let series = self.series.read();
        let mut series: Vec<_> = series.iter().collect();
        series.sort_unstable_by_key(|(sort, _)| sort.labels());
        page.family(
            "apiserver_request_total",
            "counter",
            "Answered requests by sort and code.",
        );
        for (sort, series) in &series {
            for (code, count) in series.codes() {
                let code = code.to_string();
                let labels = [&[("code", code.as_str())][..], &sort.labels()[..]].concat();
                page.sample("apiserver_request_total", &labels, count);
            }
        }
        let name = "apiserver_request_duration_seconds";
        page.family(
            name,
            "histogram",
            "Seconds until the answer was made, or sent where it is made while it is sent; without \
             what goes on until somebody ends it.",
        );
        for (sort, series) in &series {
            series.histogram(page, name, &sort.labels());
        }
        let name = "apiserver_longrunning_requests";
        page.family(name, "gauge", "Watches and logs that are being sent.");
        for (sort, series) in &series {
            if matches!(sort.verb, "WATCH" | "CONNECT") || series.lasting() != 0 {
                page.sample(name, &sort.labels(), series.lasting());
            }
        }
        let name = "apiserver_current_inflight_requests";
        page.family(name, "gauge", "Requests whose answer is not made yet.");
        for (kind, count) in ["readOnly", "mutating"].into_iter().zip(self.flying.iter()) {
            let count = count.load(Ordering::Relaxed);
            page.sample(name, &[("request_kind", kind)], count);
        }
    }
}

impl Measured {
    /// The answer as it is sent.
    pub(in crate::api) fn finish(self, reply: Reply) -> Reply {
        self.series.answered(reply.status().as_u16());
        let is_there = reply.body().size_hint().exact().is_some();
        if is_there {
            if !self.goes_on {
                self.series.took(self.began.elapsed());
            }
            return reply;
        }
        if self.goes_on {
            self.series.lasts(1);
        }
        let (series, goes_on) = (self.series.clone(), self.goes_on);
        let end = End {
            series,
            began: (!goes_on).then_some(self.began),
        };
        reply.map(|body| Lasting { body, _end: end }.boxed_unsync())
    }
}

/// The end of an answer that is made while it is sent, however it comes.
struct End {
    series: Arc<Series>,
    /// None for one that goes on until somebody ends it.
    began: Option<Instant>,
}

impl Drop for End {
    fn drop(&mut self) {
        match self.began {
            Some(began) => self.series.took(began.elapsed()),
            None => self.series.lasts(-1),
        }
    }
}

struct Lasting {
    body: Body,
    _end: End,
}

impl http_body::Body for Lasting {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn sort(server: &Server, method: &Method, headers: &HeaderMap, info: &RequestInfo) -> Sort {
    let none = Sort {
        verb: of_method(method),
        group: "",
        version: "",
        resource: "",
        subresource: "",
        scope: "",
    };
    let Some(path) = &info.resource else {
        let under = |root: &&&str| {
            let rest = info.path.strip_prefix(**root);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        return Sort {
            subresource: ROOTS.iter().find(under).copied().unwrap_or_default(),
            ..none
        };
    };
    let Some(target) = server.find(&path.group, &path.version, &path.plural) else {
        return none;
    };
    let subresource = path.subresource.as_deref().unwrap_or_default();
    let subresource = SUBRESOURCES.iter().find(|have| **have == subresource);
    Sort {
        verb: verb(info, path, headers),
        group: target.kind.group,
        version: target.kind.version,
        resource: target.kind.plural,
        subresource: subresource.copied().unwrap_or_default(),
        scope: scope(info.verb, path),
    }
}

/// Verbs as kube-apiserver counts them.
fn verb(info: &RequestInfo, path: &ResourcePath, headers: &HeaderMap) -> &'static str {
    let connects = ["attach", "exec", "portforward", "proxy"];
    let subresource = path.subresource.as_deref().unwrap_or_default();
    match info.verb {
        _ if connects.contains(&subresource) => "CONNECT",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "update" => "PUT",
        "patch" => {
            let told = headers.get(CONTENT_TYPE).map(|told| told.as_bytes());
            let applies = told.is_some_and(|told| told.starts_with(b"application/apply-patch"));
            if applies { "APPLY" } else { "PATCH" }
        }
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

fn of_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn scope(verb: &str, path: &ResourcePath) -> &'static str {
    if path.name.is_some() || verb == "create" {
        "resource"
    } else if path.namespace.is_some() {
        "namespace"
    } else {
        "cluster"
    }
}
