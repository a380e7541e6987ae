//! News of the namespace's addresses.

use rtnetlink::MulticastGroup;

use super::netlink::{NetError, Netlink};
use super::news::News;

/// Hears when links get and lose addresses.
#[derive(Debug)]
pub struct Readdressed {
    news: News,
    netlink: Netlink,
}

impl Readdressed {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn watch() -> Result<Self, NetError> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (news, handle) = News::of(&groups)?;
        let netlink = Netlink { handle };
        Ok(Self { news, netlink })
    }

    /// A socket of its own to ask by: the kernel makes one list at a time for each.
    #[must_use]
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Waits until an address may have come or gone.
    pub async fn again(&mut self) {
        self.news.next().await;
    }
}
