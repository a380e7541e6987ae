//! Reading resources from etcd, as they were at one revision.

use bytes::Bytes;
use naru_etcd::v3::{KeyValue, RangeRequest};
use std::sync::Arc;
use tokio::sync::watch;

use super::keys::Keys;
use super::{failed, freshness, revision, to_etcd};
use crate::store::ResourceDef;
use crate::store::backend::BackendError;
use crate::store::log::{EventType, Log};
use crate::store::object::Object;
use crate::store::objects::Objects;
use crate::store::seal::Encryption;
use crate::store::state::KindState;

/// Objects that are asked for at once.
const PAGE: i64 = 1000;

type Page = tokio::task::JoinHandle<Result<Vec<Object>, BackendError>>;

/// Knows where objects are and how they are stored.
#[derive(Clone)]
pub(super) struct Loader {
    pub(super) etcd: naru_etcd::Etcd,
    pub(super) keys: Keys,
    pub(super) encryption: Encryption,
}

impl Loader {
    /// etcd's revision; the first contact, whose failure ends the start.
    pub(super) async fn revision(&self) -> Result<u64, BackendError> {
        freshness::needed(&self.etcd).await
    }

    /// All resources at one revision.
    pub(super) async fn kinds(
        &self,
        resources: &[ResourceDef],
        at: u64,
    ) -> Result<Vec<KindState>, BackendError> {
        let mut kinds = Vec::with_capacity(resources.len());
        for def in resources {
            kinds.push(self.kind(*def, at).await?);
        }
        Ok(kinds)
    }

    /// One resource. A page is decoded while the next one is on its way.
    pub(super) async fn kind(&self, def: ResourceDef, at: u64) -> Result<KindState, BackendError> {
        let name: Arc<str> = def.row_name().into();
        let (mut first, end) = self.keys.range(&name);
        let mut pages: Vec<Page> = Vec::new();
        loop {
            let request = RangeRequest {
                key: first.into(),
                range_end: end.clone().into(),
                limit: PAGE,
                revision: to_etcd(at),
                ..RangeRequest::default()
            };
            let answer = self.etcd.range(request).await.map_err(failed)?;
            let last = answer.kvs.last().map(|row| row.key.to_vec());
            let (loader, more) = (self.clone(), answer.more);
            pages.push(tokio::task::spawn_blocking(move || {
                loader.decode(&def, &answer.kvs)
            }));
            let Some(last) = last.filter(|_| more) else {
                break;
            };
            first = last;
            first.push(0);
        }
        let mut objects = Objects::new();
        for page in pages {
            let page = page.await.map_err(|_| BackendError::Behind)??;
            objects.extend(page);
        }
        Ok(KindState {
            def,
            name,
            objects,
            log: Log::starting_at(at),
            wake: watch::Sender::new(0),
        })
    }

    fn decode(&self, def: &ResourceDef, rows: &[KeyValue]) -> Result<Vec<Object>, BackendError> {
        let objects = rows.iter().filter_map(|row| {
            let (resource, key) = self.keys.parse(&row.key)?;
            Some(self.object(def, (resource, key), row, EventType::Added, None))
        });
        objects.collect()
    }

    /// The object of a row.
    pub(super) fn object(
        &self,
        def: &ResourceDef,
        (resource, key): (&str, &str),
        row: &KeyValue,
        event: EventType,
        before: Option<&Object>,
    ) -> Result<Object, BackendError> {
        let opened = self.encryption.open(resource, key, &row.value)?;
        let json = opened.as_deref().unwrap_or(&row.value);
        let object = Object::revised(key, revision(row.mod_revision), event, json, def, before);
        object.map_err(|source| BackendError::Row {
            key: format!("{resource}|{key}"),
            source,
        })
    }

    /// What is stored of an object.
    pub(super) fn value(
        &self,
        resource: &str,
        key: &str,
        json: Bytes,
    ) -> Result<Bytes, BackendError> {
        self.encryption.seal(resource, key, json)
    }
}
