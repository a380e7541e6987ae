//! Writes: one transaction each, which compares the revision that the key has to have.

use std::sync::Arc;

use bytes::Bytes;
use naru_etcd::v3::compare::{CompareTarget, TargetUnion};
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
use crate::store::{Change, Resource, Write, WriteError};

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
        let answer = self.carry_out(write.resource, &write.key, planned).await;
        // Who asked may have gone.
        let _ = write.reply.send(answer);
    }

    async fn carry_out(
        &self,
        resource: Resource,
        key: &str,
        planned: Planned,
    ) -> Result<Arc<Object>, WriteError> {
        let name = self.shared.state.read().kinds[resource.0].name.clone();
        let value = (planned.event != EventType::Deleted).then(|| planned.draft.bare());
        let value = value.map(|json| self.loader.value(&name, key, json));
        let value = value.transpose();
        let value = value.map_err(|error| WriteError::Backend(error.to_string()))?;
        let place = self.loader.keys.object(&name, key);
        let request = transaction(place.into(), planned.expected, value);
        let answer = self.loader.etcd.txn(request).await.map_err(refused)?;
        let at = revision(answer.header.map_or(0, |header| header.revision));
        // Also after a refusal: whoever tries again is to see what he lost to.
        self.arrivals.reach(at).await;
        if answer.succeeded {
            return Ok(Arc::new(planned.draft.finish(at, planned.event, None)));
        }
        Err(lost(&answer, planned.expected))
    }
}

/// Puts `value`, or deletes without one, if the key is at `expected`; reads the key otherwise.
fn transaction(key: Bytes, expected: u64, value: Option<Bytes>) -> TxnRequest {
    let compare = Compare {
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(to_etcd(expected))),
        ..Compare::default()
    };
    let read = Request::RequestRange(RangeRequest {
        key: key.clone(),
        keys_only: true,
        ..RangeRequest::default()
    });
    let change = match value {
        Some(value) => Request::RequestPut(PutRequest { key, value }),
        None => Request::RequestDeleteRange(DeleteRangeRequest {
            key,
            ..DeleteRangeRequest::default()
        }),
    };
    let one = |request| {
        vec![RequestOp {
            request: Some(request),
        }]
    };
    TxnRequest {
        compare: vec![compare],
        success: one(change),
        failure: one(read),
    }
}

/// Why the comparison failed.
fn lost(answer: &TxnResponse, expected: u64) -> WriteError {
    let read = answer.responses.iter().find_map(|it| match &it.response {
        Some(Response::ResponseRange(range)) => range.kvs.first(),
        _ => None,
    });
    match read {
        Some(_) if expected == 0 => WriteError::Exists,
        Some(row) => WriteError::Conflict {
            current: revision(row.mod_revision),
        },
        None => WriteError::Missing,
    }
}

fn refused(error: naru_etcd::Error) -> WriteError {
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
    use super::*;

    #[test]
    fn a_refused_write_says_what_stands_in_its_way() {
        use naru_etcd::v3::{KeyValue, RangeResponse, ResponseOp};
        let answer = |kvs: Vec<KeyValue>| TxnResponse {
            responses: vec![ResponseOp {
                response: Some(Response::ResponseRange(RangeResponse {
                    kvs,
                    ..RangeResponse::default()
                })),
            }],
            ..TxnResponse::default()
        };
        let there = answer(vec![KeyValue {
            mod_revision: 9,
            ..KeyValue::default()
        }]);
        assert!(matches!(lost(&there, 0), WriteError::Exists));
        let WriteError::Conflict { current: 9 } = lost(&there, 8) else {
            panic!("it is at 9");
        };
        assert!(matches!(lost(&answer(vec![]), 8), WriteError::Missing));
    }
}
