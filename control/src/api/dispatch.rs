//! From a request to its handler: who asks, may they, what is it about.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use tower::Service;

use super::aggregation;
use super::audit::Trail;
use super::authn::{self, Claim, Proven, User};
use super::authz::{self, Attributes};
use super::body::{Body, BoxError, Reply, document, is_document, json, settled_encoding};
use super::fairness::Verdict;
use super::freshness;
use super::gzip;
use super::health;
use super::kinds::Target;
use super::metrics;
use super::negotiate::{self, Encoding};
use super::openapi;
use super::protobuf;
use super::request::{Query, RequestInfo, ResourcePath};
use super::reviews;
use super::server::Server;
use super::snapshot;
use super::status::{Result, Status};
use super::subresources;
use super::verbs::Call;
use super::write::Part;
use super::yaml;

/// The API as a service; clones share the server.
#[derive(Clone)]
pub struct Api(Arc<Server>);

impl Api {
    /// The service of `server`.
    pub fn new(server: Arc<Server>) -> Self {
        Self(server)
    }

    /// Answers one request. Never fails: refusals are answers.
    pub async fn handle(&self, request: Request<Body>) -> Reply {
        let head_only = request.method() == Method::HEAD;
        let takes_gzip = request.method() == Method::GET && gzip::is_accepted(request.headers());
        let plain = negotiate::plain(request.headers());
        let trail = Trail::begin(self.0.audit.as_ref(), &request);
        let query = Query::new(request.uri().query().unwrap_or_default());
        let info = RequestInfo::new(request.method(), request.uri().path(), &query);
        let (method, headers) = (request.method(), request.headers());
        let measured = self.0.requests.begin(&self.0, method, headers, &info);
        let reply = match self.try_handle(info, query, request, &trail).await {
            Ok(reply) => reply,
            Err(status) => status.into_reply(),
        };
        let reply = self.encoded(trail.finish(reply).await, plain).await;
        let reply = measured.finish(reply);
        if head_only {
            reply.map(|_| super::body::empty())
        } else if takes_gzip {
            gzip::compressed(reply).await
        } else {
            reply
        }
    }

    /// The same answer in the encoding that was settled with its shape, or else in the first of
    /// `plain` that it has.
    async fn encoded(&self, reply: Reply, plain: (Encoding, Encoding)) -> Reply {
        let settled = settled_encoding(&reply);
        let (first, second) = settled.map_or(plain, |encoding| (encoding, Encoding::Json));
        let reply = match first {
            Encoding::Json => return reply,
            Encoding::Yaml => return yaml::written(reply).await,
            Encoding::Protobuf if !is_document(&reply) => return reply,
            Encoding::Protobuf => protobuf::written(reply, self.is_audited()).await,
        };
        match reply {
            Err(reply) if second == Encoding::Yaml => yaml::written(reply).await,
            Ok(reply) | Err(reply) => reply,
        }
    }

    /// Whether requests are recorded.
    pub(super) fn is_audited(&self) -> bool {
        self.0.audit.is_some()
    }

    async fn try_handle(
        &self,
        info: RequestInfo,
        query: Query,
        request: Request<Body>,
        trail: &Trail,
    ) -> Result<Reply> {
        let server = &self.0;
        if let Some(reply) = public(server, &info, request.uri()).await {
            if trail.is_kept() {
                let user = self.caller(claim(&request)).await;
                trail.asked(&user, &info, request);
            }
            return Ok(reply);
        }
        let user = self.caller(claim(&request)).await;
        let request = trail.asked(&user, &info, request);
        trail.settled().await;
        let Some(user) = user? else {
            let nobody = User::anonymous();
            return self
                .in_turn(nobody, false, info, query, request, trail)
                .await;
        };
        let may = |wish: Attributes<'_>| authz::authorize(&user, wish, server.as_ref());
        let acting = authn::impersonate(&may, request.headers());
        let acting = acting.inspect_err(|_| trail.decided(false))?;
        if let Some(acting) = &acting {
            trail.acts(&user, acting);
        }
        self.in_turn(acting.unwrap_or(user), true, info, query, request, trail)
            .await
    }

    /// Answers a request when it is its turn, if it is allowed. Somebody `known` hears why it is not;
    /// who says nothing may do what is granted to nobody in particular, and is asked who he is for
    /// everything else.
    async fn in_turn(
        &self,
        user: User,
        known: bool,
        info: RequestInfo,
        query: Query,
        request: Request<Body>,
        trail: &Trail,
    ) -> Result<Reply> {
        let server = self.0.as_ref();
        let pass = match server.fairness.admit(server, &user, &info, &query).await? {
            Verdict::Pass(pass) => pass,
            Verdict::Refused(reply) => return Ok(reply),
        };
        let answer = pin!(async {
            let allowed = authz::authorize(&user, Attributes::of(&info), server);
            trail.decided(allowed.is_ok());
            allowed.map_err(|status| {
                if known {
                    status
                } else {
                    Status::unauthorized()
                }
            })?;
            self.answer(user, info, query, request, trail).await
        });
        Ok(pass.carry(answer).await)
    }

    /// Who asks, none if he does not say.
    ///
    /// # Errors
    /// 401 when he presents a token that nobody issued.
    async fn caller(&self, claim: Claim<'_>) -> Result<Option<User>> {
        match claim {
            Claim::Nothing => Ok(None),
            Claim::User(user) => Ok(Some(user)),
            Claim::Token(token) => {
                let user = self.0.bearer(token).await;
                user.map(Some).ok_or_else(Status::unauthorized)
            }
        }
    }

    /// Answers a request that is allowed.
    async fn answer(
        &self,
        user: User,
        info: RequestInfo,
        query: Query,
        request: Request<Body>,
        trail: &Trail,
    ) -> Result<Reply> {
        let server = &self.0;
        let beyond = |path: &str| server.extensions.load().of(path).cloned();
        if let Some(extension) = beyond(&info.path) {
            return aggregation::forward(server, &extension, &user, request).await;
        }
        let Some(path) = info.resource else {
            if let Some(document) = info.path.strip_prefix("/openapi/v3")
                && let Some(extension) = beyond(document)
            {
                return aggregation::forward(server, &extension, &user, request).await;
            }
            if openapi::owns(&info.path) {
                let (method, headers) = (request.method(), request.headers());
                let reply = openapi::answer(server, &info.path, method, headers);
                return reply.map(document);
            }
            if info.path == snapshot::PATH {
                return snapshot::answer(server, request.method()).await;
            }
            if info.path == metrics::PATH {
                return metrics::answer(server, request.method());
            }
            if let Some(reply) = health::single(server, &info.path, request.method()).await {
                return reply;
            }
            let debug = || server.fairness.dump(&info.path);
            if let Some(reply) = tokens(server, &info).or_else(debug) {
                return Ok(reply);
            }
            let discovery = server.discovery.load();
            let reply = discovery.answer(&info.path, request.method(), request.headers());
            return reply.map(document);
        };
        self.resource(user, info.verb, path, query, request, trail)
            .await
    }

    async fn resource(
        &self,
        user: User,
        verb: &'static str,
        path: ResourcePath,
        query: Query,
        mut request: Request<Body>,
        trail: &Trail,
    ) -> Result<Reply> {
        let server = self.0.clone();
        if let Some(review) = reviews::find(&path) {
            let reply = reviews::answer(&server, review, &user, verb, &path, request).await;
            return reply.map(document);
        }
        // A subresource may send the request on, whole.
        let headers = match &path.subresource {
            None => std::mem::take(request.headers_mut()),
            Some(_) => request.headers().clone(),
        };
        if subresources::is_binding(&path) {
            let target = server.core("pods").ok_or_else(Status::no_such_resource)?;
            freshness::settle(&server.store, &query).await?;
            let call = Call {
                server,
                user,
                target,
                path,
                query,
                headers,
                trail: trail.clone(),
            };
            return subresources::bind_by_body(call, verb, request.into_body()).await;
        }
        let target = server.find(&path.group, &path.version, &path.plural);
        let target = target.ok_or_else(Status::no_such_resource)?;
        place(target, &path, verb)?;
        freshness::settle(&server.store, &query).await?;
        if path.subresource.is_none() && !target.kind.verbs.contains(&verb) {
            return Err(Status::method_not_allowed());
        }
        let call = Call {
            server,
            user,
            target,
            path,
            query,
            headers,
            trail: trail.clone(),
        };
        match call.path.subresource.clone() {
            None => call.run(verb, Part::Whole, request.into_body()).await,
            Some(name) => subresources::run(call, verb, &name, request).await,
        }
    }
}

fn claim(request: &Request<Body>) -> Claim<'_> {
    Claim::of(request.extensions(), request.headers())
}

/// Objects of a namespaced kind are only created and named inside a namespace.
fn place(target: Target, path: &ResourcePath, verb: &str) -> Result<()> {
    let placed = path.namespace.is_some();
    if placed != target.kind.namespaced && (placed || path.name.is_some()) {
        return Err(Status::no_such_resource());
    }
    if !placed && target.kind.namespaced && verb == "create" {
        return Err(Status::method_not_allowed());
    }
    Ok(())
}

/// What everybody may ask: version and health.
async fn public(server: &Server, info: &RequestInfo, uri: &Uri) -> Option<Reply> {
    match info.path.as_str() {
        "/version" | "/version/" => Some(super::discovery::version()),
        path => health::whole(server, path, uri.query().unwrap_or_default()).await,
    }
}

/// Where others learn how to verify service account tokens.
fn tokens(server: &Server, info: &RequestInfo) -> Option<Reply> {
    let config = server.config();
    let value = match info.path.trim_end_matches('/') {
        "/openid/v1/jwks" => server.tokens.key_set(),
        "/.well-known/openid-configuration" => {
            let at = SocketAddr::new(config.advertise_address, config.advertise_port);
            super::tokens::discovery(&format!("https://{at}"))
        }
        _ => return None,
    };
    Some(json(StatusCode::OK, &value))
}

type Answer = Pin<Box<dyn Future<Output = std::result::Result<Reply, Infallible>> + Send>>;

/// The API for callers inside the process, who are who they say they are.
#[derive(Clone)]
pub struct Internal {
    api: Api,
    user: User,
}

impl Internal {
    /// The API as `name` in `groups` sees it.
    pub fn new(api: Api, name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self {
            api,
            user: User {
                name: name.to_owned(),
                groups,
                ..User::default()
            },
        }
    }
}

impl<B> Service<Request<B>> for Internal
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let api = self.api.clone();
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.extensions_mut().insert(Proven(self.user.clone()));
        Box::pin(async move { Ok(api.handle(request).await) })
    }
}
