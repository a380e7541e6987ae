//! Where the events of a request are for which it waits (`blocking`).
//!
//! A request waits for its first event before it is carried out, and its answer for the last one:
//! such an answer is gathered before it is sent, since its event is written at its end. What goes on
//! until somebody ends it waits for what is recorded when it begins.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;

use super::queue::Queue;
use crate::api::body::{Reply, full};

/// Events of one request that were handed over.
#[derive(Clone, Default)]
pub(super) struct Receipts(Arc<Mutex<Vec<Receipt>>>);

struct Receipt {
    queue: Arc<Queue>,
    number: u64,
}

impl Receipts {
    /// Notes an event.
    pub(super) fn add(&self, queue: &Arc<Queue>, number: u64) {
        self.0.lock().push(Receipt {
            queue: queue.clone(),
            number,
        });
    }

    /// Waits for all that were noted.
    pub(super) async fn settled(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        for Receipt { queue, number } in all {
            queue.settled(number).await;
        }
    }
}

/// The same answer, all of which is there.
pub(super) async fn gathered(reply: Reply) -> Reply {
    let (head, mut body) = reply.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(error) => {
                // What there is, and that it broke off.
                let frames = [Ok(Frame::data(bytes.freeze())), Err(error)];
                let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
                return Reply::from_parts(head, body);
            }
        }
    }
    Reply::from_parts(head, full(bytes.freeze()))
}
