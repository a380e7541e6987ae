//! The calls, each with its deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;

use crate::members::Members;
use crate::v3::kv_client::KvClient;
use crate::v3::watch_client::WatchClient;
use crate::v3::watch_request::RequestUnion;
use crate::v3::{
    CompactionRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchCreateRequest,
    WatchRequest,
};
use crate::{Config, ConfigError, Error, Watch};

/// etcd itself gives up a proposal after seven seconds.
const DEADLINE: Duration = Duration::from_secs(8);
/// Pages of large objects exceed tonic's 4 MiB.
const MAX_MESSAGE: usize = 256 << 20;
/// etcd's metadata that asks a member to refuse what it cannot answer for, since it sees no leader.
const LEADER: (&str, &str) = ("hasleader", "true");

/// A cluster. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Etcd {
    members: Arc<Members>,
}

impl Etcd {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When no member is named, or the address or TLS of one is not usable.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            members: Arc::new(Members::new(config)?),
        })
    }

    /// Keys and values, linearizable unless the request says otherwise. Every member is tried.
    ///
    /// # Errors
    /// Whatever etcd answers, and that of the last member if none can be reached.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let mut tries = self.members.count();
        loop {
            let (number, mut client) = self.kv();
            let answer = client.range(asked(request.clone())).await;
            let error = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Error::new("Range", &status),
            };
            tries -= 1;
            if !self.moves_on(number, &error) || tries == 0 {
                return Err(error);
            }
        }
    }

    /// A transaction. It is sent to another member only if it never left for this one.
    ///
    /// # Errors
    /// Whatever etcd answers; [`Error::is_unknown`] tells whether it may have happened.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        let mut tries = self.members.count();
        loop {
            let (number, mut client) = self.kv();
            let answer = client.txn(asked(request.clone())).await;
            let error = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Error::new("Txn", &status),
            };
            tries -= 1;
            if !self.moves_on(number, &error) || tries == 0 || !error.is_unsent() {
                return Err(error);
            }
        }
    }

    /// Forgets what was before `revision`.
    ///
    /// # Errors
    /// Whatever etcd answers; [`Error::is_compacted`] when somebody else was faster.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let (number, mut client) = self.kv();
        let answer = client.compact(asked(CompactionRequest { revision })).await;
        answer.map(drop).map_err(|status| {
            let error = Error::new("Compact", &status);
            self.moves_on(number, &error);
            error
        })
    }

    /// Follows what happens to keys, from one member, for as long as that has a leader.
    ///
    /// # Errors
    /// Whatever the member answers; the next call asks another one if it was this one's fault.
    pub async fn watch(&self, wanted: WatchCreateRequest) -> Result<Watch, Error> {
        let (number, channel) = self.members.current();
        let (requests, queue) = mpsc::channel(1);
        let create = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(wanted)),
        };
        // The queue is new and has room.
        let _ = requests.try_send(create);
        let mut client = WatchClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let mut request = Request::new(ReceiverStream::new(queue));
        with_leader(&mut request);
        let opened = tokio::time::timeout(DEADLINE, client.watch(request)).await;
        let opened = opened.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")));
        match opened {
            Ok(answer) => Ok(Watch::new(
                answer.into_inner(),
                requests,
                self.clone(),
                number,
            )),
            Err(status) => {
                let error = Error::new("Watch", &status);
                self.moves_on(number, &error);
                Err(error)
            }
        }
    }

    /// Turns to the next member if this one is to blame; whether it is.
    pub(crate) fn moves_on(&self, number: usize, error: &Error) -> bool {
        let blamed = error.is_members_fault();
        if blamed {
            self.members.leave(number);
        }
        blamed
    }

    fn kv(&self) -> (usize, KvClient<Channel>) {
        let (number, channel) = self.members.current();
        let client = KvClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        (number, client)
    }
}

fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    with_leader(&mut request);
    request
}

fn with_leader<T>(request: &mut Request<T>) {
    let (key, value) = LEADER;
    request
        .metadata_mut()
        .insert(key, tonic::metadata::MetadataValue::from_static(value));
}
