//! What the kernel tells of the namespace unasked.

use std::fmt;
use std::future::pending;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;

use super::netlink::NetError;

/// A socket that is in multicast groups of rtnetlink. It is only kept while somebody wants to know:
/// every change wakes it.
pub(super) struct News {
    messages: BoxStream<'static, NetlinkPayload<RouteNetlinkMessage>>,
    connection: JoinHandle<()>,
}

impl News {
    /// Joins the groups; the handle asks through the same socket.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub(super) fn of(groups: &[MulticastGroup]) -> Result<(Self, Handle), NetError> {
        let opened = rtnetlink::new_multicast_connection(groups);
        let (connection, handle, messages) = opened.map_err(NetError::Socket)?;
        let news = Self {
            messages: messages.map(|(message, _)| message.payload).boxed(),
            connection: tokio::spawn(connection),
        };
        Ok((news, handle))
    }

    /// The next message, be it that some were lost.
    pub(super) async fn next(&mut self) -> NetlinkPayload<RouteNetlinkMessage> {
        match self.messages.next().await {
            Some(message) => message,
            None => pending().await,
        }
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
