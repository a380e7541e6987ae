//! Storing what needs addresses: Services get theirs with the write, or not at all.

use serde_json::Value;

use super::addresses::Reservation;
use super::kinds::Target;
use super::server::Server;
use super::status::{Result, Status};
use super::value::name;
use super::write::WriteFailure;
use crate::store::{Change, Draft, Guard, MAX_OBJECT, Object, WriteError};

/// How often other servers may be faster.
const ATTEMPTS: usize = 32;

impl Server {
    /// Stores an object over the revision `expected`, or a new one without that. A Service takes the
    /// addresses that it needs and has them written into it; `old` is what is stored of it.
    pub(super) async fn put(
        &self,
        target: Target,
        key: &str,
        object: &mut Value,
        old: Option<&Value>,
        expected: Option<u64>,
    ) -> std::result::Result<Object, WriteFailure> {
        if !has_addresses(target) {
            let written = self.store_as(target, key, object, expected, None).await;
            return written.map_err(WriteFailure::Store);
        }
        // Where other servers give addresses away as well, each write is guarded by what was known.
        let turn = match self.store.is_shared() {
            true => Some(self.addresses.turn().await),
            false => None,
        };
        for _ in 0..ATTEMPTS {
            let catch_up = |_| self.addresses.catch_up(&self.store, target.resource);
            let guard = turn.as_ref().map(catch_up);
            let mut filled = object.clone();
            let reserved = self.reserve(target, &mut filled, old);
            let reserved = reserved.map_err(WriteFailure::Refused)?;
            let takes = reserved.as_ref().is_some_and(|it| !it.is_empty());
            let guard = guard.filter(|_| takes);
            match self.store_as(target, key, &filled, expected, guard).await {
                Err(WriteError::Overtaken) => {}
                Err(error) => return Err(WriteFailure::Store(error)),
                Ok(written) => {
                    reserved.into_iter().for_each(Reservation::keep);
                    *object = filled;
                    return Ok(written);
                }
            }
        }
        Err(WriteFailure::Store(WriteError::Overtaken))
    }

    async fn store_as(
        &self,
        target: Target,
        key: &str,
        object: &Value,
        expected: Option<u64>,
        guard: Option<Guard>,
    ) -> std::result::Result<Object, WriteError> {
        let draft = self.fitting(target, key, object)?;
        let change = match expected {
            None => Change::Create(draft),
            Some(revision) => Change::Update(draft, revision),
        };
        let key = key.into();
        self.store
            .write_guarded(target.resource, key, change, guard)
            .await
    }

    /// Whether an object is small enough to be stored under `key`, for who does not store it.
    pub(super) fn fits(&self, target: Target, key: &str, object: &Value) -> Result<()> {
        let fitting = self.fitting(target, key, object);
        let refused = |error| Status::of_write(error, target.kind, name(object));
        fitting.map(drop).map_err(refused)
    }

    /// Encodes an object that is no larger than it may be, or than what is stored under `key`: what
    /// comes from a store without that bound can be made smaller.
    fn fitting(
        &self,
        target: Target,
        key: &str,
        object: &Value,
    ) -> std::result::Result<Draft, WriteError> {
        let draft = self.store.draft(target.resource, object);
        let bytes = draft.size();
        let stored = || self.store.get(target.resource, key);
        let shrinks = || stored().is_some_and(|stored| bytes < stored.text().len());
        match bytes <= MAX_OBJECT || shrinks() {
            true => Ok(draft),
            false => Err(WriteError::TooLarge { bytes }),
        }
    }

    /// Takes the addresses that a Service needs and writes them into it.
    pub(super) fn reserve(
        &self,
        target: Target,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Reservation<'_>>> {
        if !has_addresses(target) {
            return Ok(None);
        }
        let reserved = self.addresses.reserve(object, old);
        reserved
            .map(Some)
            .map_err(|faults| Status::invalid(target.kind, name(object), &faults))
    }

    /// Frees the addresses of a Service that it no longer has.
    pub(super) fn release(&self, target: Target, key: &str, old: &Value, new: Option<&Value>) {
        if has_addresses(target) {
            self.addresses.release(key, old, new);
        }
    }
}

fn has_addresses(target: Target) -> bool {
    target.kind.plural == "services" && target.kind.group.is_empty()
}
