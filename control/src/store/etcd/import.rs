//! Filling an empty etcd with the objects of a snapshot.

use naru_etcd::v3::request_op::Request;
use naru_etcd::v3::{PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::keys::Keys;
use super::load::Loader;
use super::{EtcdConfig, failed};
use crate::store::backend::{BackendError, RowChange};
use crate::store::seal::Encryption;

/// Puts in one transaction; etcd takes 128 unless it is told otherwise.
const BATCH: usize = 100;

/// An etcd that is to be filled.
pub(in crate::store) struct Import(Loader);

impl Import {
    pub(in crate::store) fn new(
        config: &EtcdConfig,
        encryption: Encryption,
    ) -> Result<Self, BackendError> {
        let etcd = naru_etcd::Etcd::new(&config.cluster).map_err(BackendError::EtcdConfig)?;
        Ok(Self(Loader {
            etcd,
            keys: Keys::under(&config.prefix),
            encryption,
        }))
    }

    /// Whether there is no object yet.
    pub(in crate::store) async fn is_empty(&self) -> Result<bool, BackendError> {
        let (key, range_end) = self.0.keys.all();
        let request = RangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            count_only: true,
            ..RangeRequest::default()
        };
        let answer = self.0.etcd.range(request).await.map_err(failed)?;
        Ok(answer.count == 0)
    }

    pub(in crate::store) async fn put(&self, rows: &[RowChange]) -> Result<(), BackendError> {
        for batch in rows.chunks(BATCH) {
            let puts = batch.iter().map(|row| self.one(row));
            let success = puts.collect::<Result<Vec<_>, _>>()?;
            let request = TxnRequest {
                success,
                ..TxnRequest::default()
            };
            self.0.etcd.txn(request).await.map_err(failed)?;
        }
        Ok(())
    }

    fn one(&self, row: &RowChange) -> Result<RequestOp, BackendError> {
        let json = row.json.clone().unwrap_or_default();
        let put = PutRequest {
            key: self.0.keys.object(&row.resource, &row.key).into(),
            value: self.0.value(&row.resource, &row.key, json)?,
        };
        Ok(RequestOp {
            request: Some(Request::RequestPut(put)),
        })
    }
}
