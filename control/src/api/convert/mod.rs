//! From one version of a kind to another: by the rules of the kind, or by asking the webhook that
//! a definition names.
//!
//! Objects of the version in which they are kept are never converted, and cost nothing here. A
//! webhook is asked about many objects at once, those alone that are in another version (`review`).
//! It is found by the kind's group and name when it is needed, so that a watch that has been open
//! for long asks whom the definition names now.

mod review;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use self::review::Question;
use super::kinds::Target;
use super::remote::Remote;
use super::server::Server;
use super::status::{Result, Status};
use super::value::text;

/// A webhook has this long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes of objects in one question, unless a single one is larger.
const BATCH: usize = 4 << 20;

/// The webhook that converts the objects of a kind.
pub(super) struct Converter {
    remote: Remote,
    /// The version of reviews that it understands.
    review: Option<&'static str>,
}

impl Converter {
    /// The webhook that a definition names.
    pub(super) fn of(definition: &Value) -> Option<Converter> {
        let conversion = definition.pointer("/spec/conversion")?;
        if text(conversion, "/strategy") != "Webhook" {
            return None;
        }
        let config = conversion.pointer("/webhook/clientConfig")?;
        Some(Converter {
            remote: Remote::read(config, TIMEOUT, MAX_ANSWER),
            review: review::spoken(conversion),
        })
    }

    /// Asks for `objects` in `desired`.
    async fn ask(
        &self,
        server: &Server,
        kind: &str,
        desired: &str,
        objects: &[&Value],
    ) -> std::result::Result<Vec<Value>, String> {
        let uid = uuid::Uuid::new_v4().to_string();
        let review = self
            .review
            .ok_or("failed: no known conversionReviewVersions")?;
        let question = Question {
            review,
            uid: &uid,
            desired,
            kind,
        };
        let answer = self.remote.post(server, question.body(objects)).await;
        let answer = answer.map_err(|why| format!("failed: {why}"))?;
        question.read(objects, &answer)
    }
}

impl Server {
    /// The webhook that a kind's objects are converted by.
    pub(super) fn converter(&self, target: Target) -> Option<Arc<Converter>> {
        target.kind.custom?;
        let custom = self.custom.load();
        custom.converter(target.kind.group, target.kind.plural)
    }

    /// Objects of any version of a kind in the version of `target`.
    ///
    /// # Errors
    /// 500 with what its webhook said or did.
    pub(super) async fn shown(
        &self,
        target: Target,
        mut objects: Vec<Value>,
    ) -> Result<Vec<Value>> {
        let Some(converter) = self.converter(target) else {
            objects.iter_mut().for_each(|object| target.show(object));
            return Ok(objects);
        };
        let desired = target.api_version();
        let other = |object: &&Value| text(object, "/apiVersion") != desired;
        let sent: Vec<&Value> = objects.iter().filter(other).collect();
        let mut converted = Vec::with_capacity(sent.len());
        let mut open = sent.as_slice();
        while !open.is_empty() {
            let (batch, rest) = open.split_at(batch(open));
            let asked = converter.ask(self, target.kind.kind, &desired, batch).await;
            converted.extend(asked.map_err(|why| failure(batch[0], &why))?);
            open = rest;
        }
        let mut converted = converted.into_iter();
        for object in &mut objects {
            if text(object, "/apiVersion") != desired
                && let Some(new) = converted.next()
            {
                *object = new;
                target.kind.complete(object);
            }
        }
        Ok(objects)
    }

    /// One object of any version in the version of `target`.
    ///
    /// # Errors
    /// As [`Server::shown`].
    pub(super) async fn shown_one(&self, target: Target, object: Value) -> Result<Value> {
        let mut shown = self.shown(target, vec![object]).await?;
        shown.pop().ok_or_else(Status::no_such_resource)
    }

    /// The text of a stored object in the version of `target`; shared, where it is kept in it.
    ///
    /// # Errors
    /// As [`Server::shown`].
    pub(super) async fn shown_text(&self, target: Target, stored: Bytes) -> Result<Bytes> {
        if target.is_shown(&stored) {
            return Ok(stored);
        }
        let value = serde_json::from_slice(&stored).unwrap_or_default();
        Ok(self.shown_one(target, value).await?.to_string().into())
    }

    /// A stored object in the version in which objects are kept now.
    ///
    /// # Errors
    /// As [`Server::shown`].
    pub(super) async fn kept(&self, target: Target, mut stored: Value) -> Result<Value> {
        let kept = target.stored();
        if kept.kind.custom.is_none() {
            return Ok(stored);
        }
        let version = kept.api_version();
        if text(&stored, "/apiVersion") == version {
            return Ok(stored);
        }
        if self.converter(kept).is_some() {
            return self.shown_one(kept, stored).await;
        }
        stored["apiVersion"] = version.into();
        Ok(stored)
    }

    /// An object of `target`'s version in the one in which objects are kept.
    ///
    /// # Errors
    /// As [`Server::shown`].
    pub(super) async fn to_stored(&self, target: Target, mut object: Value) -> Result<Value> {
        if target.kind.stored_as.is_none() {
            return Ok(object);
        }
        if self.converter(target).is_some() {
            return self.shown_one(target.stored(), object).await;
        }
        target.to_stored(&mut object);
        Ok(object)
    }
}

/// How many of the objects go into the next question.
fn batch(open: &[&Value]) -> usize {
    let mut bytes = 0;
    let fits = open.iter().take_while(|object| {
        bytes += object.to_string().len();
        bytes <= BATCH
    });
    fits.count().max(1)
}

/// The refusal in the words of Kubernetes, which knows no reason for it.
fn failure(object: &Value, why: &str) -> Status {
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let message = format!("conversion webhook for {version}, Kind={kind} {why}");
    tracing::warn!(why = message, "a conversion failed");
    Status::failed(message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_has_one_object_at_least_and_no_more_than_fit() {
        let object = json!({"text": "x".repeat(BATCH / 3)});
        assert_eq!(batch(&[&object; 9]), 2);
        let large = json!({"text": "x".repeat(BATCH)});
        assert_eq!(batch(&[&large, &object]), 1);
    }

    #[test]
    fn a_definition_names_its_webhook() {
        let definition = |strategy: &str| {
            json!({"spec": {"conversion": {"strategy": strategy, "webhook": {
                "clientConfig": {"url": "https://a.b/c"}, "conversionReviewVersions": ["v1"]}}}})
        };
        let made = Converter::of(&definition("Webhook")).unwrap();
        assert_eq!((made.review, made.remote.timeout), (Some("v1"), TIMEOUT));
        assert!(Converter::of(&definition("None")).is_none());
    }
}
