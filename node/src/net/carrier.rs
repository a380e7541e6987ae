//! News of a link's carrier: when the cable, or what stands for it, is plugged in again.

use futures_util::TryStreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::MulticastGroup;

use super::netlink::{NetError, refused};
use super::news::News;

/// Follows one link.
#[derive(Debug)]
pub struct Carrier {
    link: u32,
    /// How often the link has come up so far, as the kernel counts: a short interruption may be
    /// over before it is told.
    ups: u32,
    news: News,
}

impl Carrier {
    /// Follows link `link` from now on.
    ///
    /// # Errors
    /// When the kernel gives no socket, or knows no such link.
    pub async fn watch(link: u32) -> Result<Self, NetError> {
        let (news, handle) = News::of(&[MulticastGroup::Link])?;
        let mut links = handle.link().get().match_index(link).execute();
        let present = links.try_next().await;
        let present = present.map_err(refused(format!("look up link {link}")))?;
        Ok(Self {
            link,
            ups: present.as_ref().and_then(ups).unwrap_or_default(),
            news,
        })
    }

    /// Waits until the link has come up again.
    pub async fn again(&mut self) {
        loop {
            let ups = ups_of(self.link, &self.news.next().await);
            if let Some(ups) = ups.filter(|ups| *ups != self.ups) {
                self.ups = ups;
                return;
            }
        }
    }
}

fn ups_of(index: u32, message: &NetlinkPayload<RouteNetlinkMessage>) -> Option<u32> {
    match message {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
            if link.header.index == index =>
        {
            ups(link)
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
