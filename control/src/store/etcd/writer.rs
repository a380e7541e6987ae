//! Writes: one transaction each, which compares the revision that the key has to have.
//!
//! What is decided from more than one object is guarded: whoever writes under a guard writes the
//! guard's key as well, if nobody did since he looked.

use std::sync::Arc;

use bytes::Bytes;
use naru_etcd::v3::compare::{CompareResult, CompareTarget, TargetUnion};
use naru_etcd::v3::request_op::Request;
use naru_etcd::v3::response_op::Response;
use naru_etcd::v3::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};

use super::arrivals::Arrivals;
use super::load::Loader;
use super::{revision, to_etcd};
use crate::store::log::EventType;
use crate::store::object::{Draft, Object};
use crate::store::state::Shared;
use crate::store::{Change, Guard, Resource, Write, WriteError};

pub(super) struct Writer {
    pub(super) loader: Loader,
    pub(super) shared: Arc<Shared>,
    pub(super) arrivals: Arc<Arrivals>,
}

/// A change as etcd is asked for it.
struct Planned {
    draft: Draft,
    event: EventType,
    /// The revision that the key has to have; 0 if it must be free.
    expected: u64,
}

impl Planned {
    fn of(change: Change) -> Self {
        let (draft, event, expected) = match change {
            Change::Create(draft) => (draft, EventType::Added, 0),
            Change::Update(draft, expected) => (draft, EventType::Modified, expected),
            Change::Delete(draft, expected) => (draft, EventType::Deleted, expected),
        };
        Self {
            draft,
            event,
            expected,
        }
    }
}

impl Writer {
    /// Writes, waits until the write is shown, and answers.
    pub(super) async fn write(self: Arc<Self>, write: Write) {
        let planned = Planned::of(write.change);
        let answer = self.carry_out(write.resource, &write.key, planned, write.guard);
        let answer = answer.await;
        // Who asked may have gone.
        let _ = write.reply.send(answer);
    }

    async fn carry_out(
        &self,
        resource: Resource,
        key: &str,
        planned: Planned,
        guard: Option<Guard>,
    ) -> Result<Object, WriteError> {
        let name = self.shared.state.read().kinds[resource.0].name.clone();
        let value = (planned.event != EventType::Deleted).then(|| planned.draft.bare());
        let value = value.map(|json| self.loader.value(&name, key, json));
        let value = value.transpose();
        let value = value.map_err(|error| WriteError::Backend(error.to_string()))?;
        let keys = &self.loader.keys;
        let place = keys.object(&name, key).into();
        let guard = guard.map(|guard| (Bytes::from(keys.guard(guard.name)), guard.seen));
        let request = transaction(place, planned.expected, value, guard.clone());
        let answer = self.loader.etcd.txn(request).await;
        let answer = answer.map_err(|error| refused(&error, planned.draft.size()))?;
        let at = revision(answer.header.map_or(0, |header| header.revision));
        // Also after a refusal: whoever tries again is to see what he lost to.
        self.arrivals.reach(at).await;
        if answer.succeeded {
            return Ok(planned.draft.finish(key, at, planned.event, None));
        }
        Err(lost(&answer, planned.expected, guard.map(|(_, seen)| seen)))
    }
}

/// Puts `value`, or deletes without one, if the key is at `expected` and nobody wrote under the guard
/// after it was seen; reads both otherwise.
fn transaction(
    key: Bytes,
    expected: u64,
    value: Option<Bytes>,
    guard: Option<(Bytes, u64)>,
) -> TxnRequest {
    let mut compare = vec![at(key.clone(), CompareResult::Equal, expected)];
    let mut failure = vec![read(key.clone())];
    let mut success = vec![match value {
        Some(value) => Request::RequestPut(PutRequest { key, value }),
        None => Request::RequestDeleteRange(DeleteRangeRequest {
            key,
            ..DeleteRangeRequest::default()
        }),
    }];
    if let Some((key, seen)) = guard {
        compare.push(at(key.clone(), CompareResult::Less, seen.saturating_add(1)));
        failure.push(read(key.clone()));
        let value = Bytes::new();
        success.push(Request::RequestPut(PutRequest { key, value }));
    }
    TxnRequest {
        compare,
        success: success.into_iter().map(operation).collect(),
        failure: failure.into_iter().map(operation).collect(),
    }
}

/// A comparison of the revision of a key's last change, which is 0 for a key that is free.
fn at(key: Bytes, result: CompareResult, revision: u64) -> Compare {
    Compare {
        result: result.into(),
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(to_etcd(revision))),
    }
}

fn read(key: Bytes) -> Request {
    Request::RequestRange(RangeRequest {
        key,
        keys_only: true,
        ..RangeRequest::default()
    })
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

/// Why the comparison failed; `answer` has read the key and then the guard, if there is one.
fn lost(answer: &TxnResponse, expected: u64, seen: Option<u64>) -> WriteError {
    let mut reads = answer.responses.iter().map(|it| match &it.response {
        Some(Response::ResponseRange(range)) => range.kvs.first(),
        _ => None,
    });
    let current = reads.next().flatten();
    let current = current.map(|row| revision(row.mod_revision));
    let guard = reads.next().flatten();
    let guard = guard.map_or(0, |row| revision(row.mod_revision));
    match current {
        Some(_) if expected == 0 => WriteError::Exists,
        Some(current) if current != expected => WriteError::Conflict { current },
        None if expected != 0 => WriteError::Missing,
        _ if seen.is_some_and(|seen| guard > seen) => WriteError::Overtaken,
        _ => WriteError::Backend("etcd refused a write whose conditions hold".to_owned()),
    }
}

/// Why etcd did not take an object of so many bytes.
fn refused(error: &naru_etcd::Error, bytes: usize) -> WriteError {
    if error.is_too_large() {
        return WriteError::TooLarge { bytes };
    }
    if error.is_full() {
        return WriteError::Full;
    }
    if error.is_unknown() {
        return WriteError::Unanswered(error.to_string());
    }
    WriteError::Backend(error.to_string())
}

#[cfg(test)]
mod tests {
    use naru_etcd::v3::{KeyValue, RangeResponse, ResponseOp};

    use super::*;

    fn answer(reads: &[Option<i64>]) -> TxnResponse {
        let read = |at: &Option<i64>| {
            let row = at.map(|mod_revision| KeyValue {
                mod_revision,
                ..KeyValue::default()
            });
            ResponseOp {
                response: Some(Response::ResponseRange(RangeResponse {
                    kvs: row.into_iter().collect(),
                    ..RangeResponse::default()
                })),
            }
        };
        TxnResponse {
            responses: reads.iter().map(read).collect(),
            ..TxnResponse::default()
        }
    }

    #[test]
    fn a_refused_write_says_what_stands_in_its_way() {
        let told = |reads: &[Option<i64>], expected, seen| lost(&answer(reads), expected, seen);
        assert!(matches!(told(&[Some(9)], 0, None), WriteError::Exists));
        assert!(matches!(
            told(&[Some(9)], 8, None),
            WriteError::Conflict { current: 9 }
        ));
        assert!(matches!(told(&[None], 8, None), WriteError::Missing));
        let guarded = |key, expected| told(&[key, Some(12)], expected, Some(11));
        assert!(matches!(guarded(None, 0), WriteError::Overtaken));
        assert!(matches!(guarded(Some(9), 9), WriteError::Overtaken));
        assert!(matches!(guarded(Some(9), 0), WriteError::Exists));
    }

    #[test]
    fn a_guard_is_compared_with_what_was_seen_and_written_along() {
        let request = transaction("k".into(), 3, None, Some(("g".into(), 7)));
        let compared = request.compare.iter().map(|it| it.target_union.clone());
        assert_eq!(
            compared.collect::<Vec<_>>(),
            [3, 8].map(|revision| Some(TargetUnion::ModRevision(revision)))
        );
        assert_eq!((request.success.len(), request.failure.len()), (2, 2));
    }
}
