//! One of the writers: what it does to its object and to a counter in one life of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};

use super::MAPS;
use super::record::{Deed, Life, State};
use crate::support::http::{Answer, try_send};

/// An object that nobody else writes, and a counter that others increment, too.
pub(super) struct Writer {
    pub(super) client: kube::Client,
    pub(super) object: String,
    pub(super) counter: String,
    /// What the object is, if it is there.
    pub(super) state: Option<State>,
    /// No other write of anybody has this value or one up to a million above it.
    pub(super) unique: u64,
    /// Acknowledged writes of everybody.
    pub(super) acknowledged: Arc<AtomicUsize>,
}

impl Writer {
    /// Writes until the server is dead.
    pub(super) async fn live(mut self) -> Life {
        let mut life = Life::default();
        for turn in 0.. {
            let going = if turn % 4 == 3 {
                self.increment(&mut life).await
            } else {
                self.write(turn, &mut life).await
            };
            if going.is_none() {
                break;
            }
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        life
    }

    /// Creates the object, replaces it, or deletes it now and then.
    async fn write(&mut self, turn: u64, life: &mut Life) -> Option<()> {
        self.unique += 1;
        let path = format!("{MAPS}/{}", self.object);
        let deed = match self.state {
            Some(state) if turn % 5 == 4 => {
                life.open = Some(Deed::Deleted);
                let version =
                    json!({"preconditions": {"resourceVersion": state.version.to_string()}});
                self.send(Method::DELETE, &path, &version)
                    .await?
                    .expect(200);
                self.state = None;
                Deed::Deleted
            }
            found => {
                life.open = Some(Deed::Wrote(State {
                    version: 0,
                    value: self.unique,
                }));
                let object = object(&self.object, self.unique, found);
                let made = match found {
                    None => self.send(Method::POST, MAPS, &object).await?.expect(201),
                    Some(_) => self.send(Method::PUT, &path, &object).await?.expect(200),
                };
                let state = State::of(&made);
                self.state = Some(state);
                Deed::Wrote(state)
            }
        };
        life.open = None;
        life.deeds.push(deed);
        Some(())
    }

    /// Increments the counter, unless somebody else was faster.
    async fn increment(&mut self, life: &mut Life) -> Option<()> {
        let path = format!("{MAPS}/{}", self.counter);
        let found = self
            .send(Method::GET, &path, &Value::Null)
            .await?
            .expect(200);
        let state = State::of(&found);
        let object = object(&self.counter, state.value + 1, Some(state));
        life.incrementing = true;
        let answer = self.send(Method::PUT, &path, &object).await?;
        life.incrementing = false;
        if answer.code != 409 {
            life.increments.push(State::of(&answer.expect(200)));
        }
        Some(())
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Option<Answer> {
        let headers = [("content-type", "application/json")];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        try_send(&self.client, method, path, &headers, body)
            .await
            .ok()
    }
}

/// An object with a value; in place of `found`, if there is one.
pub(super) fn object(name: &str, value: u64, found: Option<State>) -> Value {
    let mut object = json!({"metadata": {"name": name}, "data": {"value": value.to_string()}});
    if let Some(found) = found {
        object["metadata"]["resourceVersion"] = found.version.to_string().into();
    }
    object
}
