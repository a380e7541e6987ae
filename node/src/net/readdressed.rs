//! News of the namespace's addresses.

use rtnetlink::MulticastGroup;

use super::netlink::NetError;
use super::news::News;

/// Hears when links get and lose addresses.
#[derive(Debug)]
pub struct Readdressed(News);

impl Readdressed {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn watch() -> Result<Self, NetError> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        News::of(&groups).map(|(news, _)| Self(news))
    }

    /// Waits until an address may have come or gone.
    pub async fn again(&mut self) {
        self.0.next().await;
    }
}
