//! News of a link's carrier: when the cable, or what stands for it, is plugged in again.

use std::fmt;
use std::future::{pending, ready};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::MulticastGroup;
use tokio::task::JoinHandle;

use super::netlink::{NetError, refused};

/// Follows one link. Every change of any link of the namespace wakes it, so that it is only kept
/// while somebody wants to know.
pub struct Carrier {
    /// How often the link has come up so far, as the kernel counts: a short interruption may be
    /// over before it is told.
    ups: u32,
    /// The number after each change of the link.
    news: BoxStream<'static, u32>,
    connection: JoinHandle<()>,
}

impl Carrier {
    /// Follows link `link` from now on.
    ///
    /// # Errors
    /// When the kernel gives no socket, or knows no such link.
    pub async fn watch(link: u32) -> Result<Self, NetError> {
        let opened = rtnetlink::new_multicast_connection(&[MulticastGroup::Link]);
        let (connection, handle, news) = opened.map_err(NetError::Socket)?;
        let connection = tokio::spawn(connection);
        let mut links = handle.link().get().match_index(link).execute();
        let present = links.try_next().await;
        let present = present.map_err(refused(format!("look up link {link}")))?;
        let news = news.filter_map(move |(message, _)| ready(ups_of(link, message)));
        Ok(Self {
            ups: present.as_ref().and_then(ups).unwrap_or_default(),
            news: news.boxed(),
            connection,
        })
    }

    /// Waits until the link has come up again.
    pub async fn again(&mut self) {
        while let Some(ups) = self.news.next().await {
            if ups != self.ups {
                self.ups = ups;
                return;
            }
        }
        pending().await
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Carrier");
        text.field("ups", &self.ups).finish_non_exhaustive()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn ups_of(index: u32, message: NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
            if link.header.index == index =>
        {
            ups(&link)
        }
        _ => None,
    }
}

fn ups(link: &LinkMessage) -> Option<u32> {
    let mut attributes = link.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        LinkAttribute::CarrierUpCount(count) => Some(*count),
        _ => None,
    })
}
