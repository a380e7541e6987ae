//! Questions about rights: who am I, may I, what may I. Answered by the same hook that every
//! request passes, and stored nowhere.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::authn::User;
use super::authz::{self, Attributes, Facts, PUBLIC, PUBLIC_ROOTS};
use super::body::{Body, Reply, json as json_reply};
use super::request::ResourcePath;
use super::server::Server;
use super::status::{Result, Status};
use super::tokens::ISSUER;
use super::value::{items, text};
use super::{decode, negotiate};
use crate::registry::kind::Kind;
use crate::registry::{REVIEWS, by_plural_in};

/// The question that a path is about.
pub(super) fn find(path: &ResourcePath) -> Option<&'static Kind> {
    by_plural_in(REVIEWS, &path.group, &path.version, &path.plural)
}

/// Answers a question that `user` asks.
///
/// # Errors
/// 405 for anything but a creation, 400 for a question that names nothing to decide on.
pub(super) async fn answer(
    server: &Server,
    kind: &'static Kind,
    user: &User,
    verb: &str,
    path: &ResourcePath,
    request: http::Request<Body>,
) -> Result<Reply> {
    if path.namespace.is_some() != kind.namespaced || path.subresource.is_some() {
        return Err(Status::no_such_resource());
    }
    if verb != "create" || path.name.is_some() {
        return Err(Status::method_not_allowed());
    }
    let content_type = negotiate::content_type(request.headers());
    let bytes = decode::read(request.into_body()).await?;
    let mut review = decode::object(&bytes, &content_type)?;
    review["status"] = match kind.kind {
        "TokenReview" => token(server, &review).await?,
        "SelfSubjectReview" => json!({"userInfo": user}),
        "SelfSubjectRulesReview" => rules(server, user, text(&review, "/spec/namespace")),
        "SelfSubjectAccessReview" => access(server, user, &review)?,
        "LocalSubjectAccessReview" => {
            let asked = text(&review, "/spec/resourceAttributes/namespace");
            if Some(asked) != path.namespace.as_deref() {
                let why = "spec.resourceAttributes.namespace must be that of the request";
                return Err(Status::bad_request(why));
            }
            access(server, &subject(&review)?, &review)?
        }
        _ => access(server, &subject(&review)?, &review)?,
    };
    review["apiVersion"] = super::kinds::api_version(kind).into();
    review["kind"] = kind.kind.into();
    Ok(json_reply(StatusCode::CREATED, &review))
}

/// Whose token it is, and whether it is meant for one of the wanted audiences.
async fn token(server: &Server, review: &Value) -> Result<Value> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        let why = "Required value: a token to review is required";
        return Err(Status::invalid_parameter("spec.token", why));
    }
    let wanted = items(review, "/spec/audiences").iter();
    let mut wanted: Vec<String> = wanted
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    if wanted.is_empty() {
        wanted.push(ISSUER.to_owned());
    }
    Ok(match reviewed(server, token, wanted).await {
        Some((user, audiences)) => {
            json!({"authenticated": true, "user": user, "audiences": audiences})
        }
        None => json!({"user": {}, "error": "the token is not valid for this cluster"}),
    })
}

/// Whose token it is, and those of the `wanted` audiences that it is for. Tokens that name none are
/// for this server.
async fn reviewed(
    server: &Server,
    token: &str,
    mut wanted: Vec<String>,
) -> Option<(User, Vec<String>)> {
    if let Some(claims) = server.account(token, &wanted) {
        wanted.retain(|audience| claims.aud.contains(audience));
        return Some((claims.user(), wanted));
    }
    wanted.retain(|audience| audience == ISSUER);
    if wanted.is_empty() {
        return None;
    }
    Some((server.bearer(token).await?, wanted))
}

/// The user that a review asks about.
fn subject(review: &Value) -> Result<User> {
    let texts = |list: &[Value]| -> Vec<String> {
        let texts = list.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let extra = review.pointer("/spec/extra").and_then(Value::as_object);
    let extra = extra.into_iter().flatten();
    let extra = extra.map(|(key, list)| (key.clone(), texts(items(list, ""))));
    let user = User {
        name: text(review, "/spec/user").to_owned(),
        uid: text(review, "/spec/uid").to_owned(),
        groups: texts(items(review, "/spec/groups")),
        extra: Arc::new(extra.collect()),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(Status::bad_request(
            "at least one of spec.user and spec.groups must be given",
        ));
    }
    Ok(user)
}

fn access(server: &Server, user: &User, review: &Value) -> Result<Value> {
    let resource = filled(review, "/spec/resourceAttributes").map(resource_path);
    let other = filled(review, "/spec/nonResourceAttributes");
    let wish = match (&resource, other) {
        (Some((verb, path)), None) => Attributes {
            verb,
            path: "",
            resource: Some(path),
        },
        (None, Some(other)) => Attributes {
            verb: text(other, "/verb"),
            path: text(other, "/path"),
            resource: None,
        },
        _ => {
            return Err(Status::bad_request(
                "exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be given",
            ));
        }
    };
    Ok(match authz::authorize(user, wish, server) {
        Ok(()) => json!({"allowed": true}),
        Err(refusal) => json!({"allowed": false, "reason": refusal.message}),
    })
}

fn filled<'a>(review: &'a Value, pointer: &str) -> Option<&'a Value> {
    review.pointer(pointer).filter(|value| value.is_object())
}

/// Verb and resource as the attributes of a review name them.
fn resource_path(attributes: &Value) -> (String, ResourcePath) {
    let get = |name: &str| text(attributes, &format!("/{name}")).to_owned();
    let optional = |name: &str| Some(get(name)).filter(|text| !text.is_empty());
    let path = ResourcePath {
        group: get("group"),
        version: get("version"),
        namespace: optional("namespace"),
        plural: get("resource"),
        name: optional("name"),
        subresource: optional("subresource"),
        ..ResourcePath::default()
    };
    (get("verb"), path)
}

/// Everything that the user may do without a condition.
fn rules(server: &Server, user: &User, namespace: &str) -> Value {
    if authz::may_do_all(user) {
        return json!({"incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
    }
    let (always, sometimes): (Vec<_>, Vec<_>) =
        authz::rules(user).partition(|rule| rule.is_unconditional());
    let always: Vec<Value> = always
        .iter()
        .map(|rule| {
            json!({"verbs": rule.verbs, "apiGroups": [rule.group], "resources": rule.resources})
        })
        .collect();
    let granted = server.granted(user, Some(namespace));
    let (paths, granted): (Vec<_>, Vec<_>) = granted.iter().partition(|rule| rule.is_about_paths());
    let always: Vec<Value> = always
        .into_iter()
        .chain(granted.iter().map(|rule| rule.to_value()))
        .collect();
    let public = PUBLIC_ROOTS.iter();
    let public: Vec<String> = public
        .flat_map(|root| [(*root).to_owned(), format!("{root}/*")])
        .chain(PUBLIC.map(str::to_owned))
        .collect();
    let mut status = json!({"incomplete": !sometimes.is_empty(), "resourceRules": always,
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": public}]});
    if let Some(rules) = status["nonResourceRules"].as_array_mut() {
        rules.extend(paths.iter().map(|rule| rule.to_value()));
    }
    if !sometimes.is_empty() {
        status["evaluationError"] =
            "a node may also act on what is its own or its pods', which no list of rules shows"
                .into();
    }
    status
}
