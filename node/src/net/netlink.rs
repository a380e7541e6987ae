//! A netlink socket of one network namespace, and the few operations that Naru needs.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{TryStream, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteIpTunnel, RouteMessage, RouteScope,
};
use nix::sched::{CloneFlags, setns};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::sync::Mutex;

use super::mac::Mac;

/// An operation on the network failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused a netlink request.
    #[error("{operation}: {}", netlink_cause(source))]
    Netlink {
        /// What was tried, with the object's name.
        operation: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// No link has this name.
    #[error("no link {0:?}")]
    NoLink(String),
    /// A network namespace could not be entered.
    #[error("cannot enter network namespace {}", path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A netlink socket could not be opened.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    /// A kernel parameter could not be read or set.
    #[error("cannot read or set {}", path.display())]
    Sysctl {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn netlink_cause(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}

pub(super) fn refused(operation: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetError {
    let operation = operation.into();
    move |source| NetError::Netlink { operation, source }
}

pub(super) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().raw_os_error(),
        _ => None,
    }
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MAC address, zero for links without one.
    pub mac: Mac,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
}

/// A netlink socket, bound to the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct Netlink {
    pub(super) handle: Handle,
    /// Held while the kernel makes a list: one at a time for each socket, others it refuses.
    listing: Arc<Mutex<()>>,
}

impl Netlink {
    /// A socket in the daemon's own namespace.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn here() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            listing: Arc::default(),
        })
    }

    /// A whole list; `ask` sends the request for it, and `what` is how an error calls it.
    pub(super) async fn list<T, S>(
        &self,
        what: &str,
        ask: impl FnOnce(&Handle) -> S,
    ) -> Result<Vec<T>, NetError>
    where
        S: TryStream<Ok = T, Error = rtnetlink::Error>,
    {
        let _alone = self.listing.lock().await;
        let list = ask(&self.handle).try_collect().await;
        list.map_err(refused(format!("list {what}")))
    }

    /// A socket in the namespace at `path`, and the result of `also`, which runs there. A thread
    /// of its own enters the namespace and ends, so that no worker is left in the wrong one.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `also` fails.
    pub async fn inside<T: Send + 'static>(
        path: &Path,
        also: impl FnOnce() -> Result<T, NetError> + Send + 'static,
    ) -> Result<(Self, T), NetError> {
        let runtime = tokio::runtime::Handle::current();
        let path = path.to_owned();
        let (done, wait) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .stack_size(256 * 1024);
        let spawned = thread.spawn(move || {
            let _runtime = runtime.enter();
            let result = enter(&path).and_then(|()| Ok((Self::here()?, also()?)));
            let _ = done.send(result);
        });
        spawned.map_err(NetError::Socket)?;
        wait.await
            .map_err(|_| NetError::Socket(io::Error::other("the thread ended early")))?
    }

    /// The link `name`.
    ///
    /// # Errors
    /// [`NetError::NoLink`] if there is none.
    pub async fn link(&self, name: &str) -> Result<Link, NetError> {
        Ok(describe(&self.link_message(name).await?))
    }

    /// All that the kernel says of the link `name`.
    pub(super) async fn link_message(&self, name: &str) -> Result<LinkMessage, NetError> {
        let mut links = self.handle.link().get().match_name(name).execute();
        match links.try_next().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(NetError::NoLink(name.into())),
            Err(error) if errno(&error) == Some(nix::libc::ENODEV) => {
                Err(NetError::NoLink(name.into()))
            }
            Err(error) => Err(refused(format!("look up link {name}"))(error)),
        }
    }

    /// Every link.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let links = self.list("links", |handle| handle.link().get().execute());
        Ok(links.await?.iter().map(describe).collect())
    }

    /// Makes a veth pair whose `peer` is born inside the namespace `netns`, so that it is never
    /// seen here.
    ///
    /// # Errors
    /// When the kernel refuses, for instance because a name is taken.
    pub async fn add_veth(
        &self,
        (name, mac): (&str, Mac),
        (peer, peer_mac): (&str, Mac),
        mtu: u32,
        netns: &File,
    ) -> Result<(), NetError> {
        let peer = LinkUnspec::new_with_name(peer)
            .address(peer_mac.0.to_vec())
            .mtu(mtu)
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let link = LinkVeth::new(name, "")
            .address(mac.0.to_vec())
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let added = self.handle.link().add(link).execute().await;
        added.map_err(refused(format!("add veth {name}")))
    }

    /// Removes the link `name` (for a veth, both ends); one that does not exist is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_link(&self, name: &str) -> Result<(), NetError> {
        let link = match self.link(name).await {
            Ok(link) => link,
            Err(NetError::NoLink(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.handle.link().del(link.index).execute().await {
            Err(error) if errno(&error) != Some(nix::libc::ENODEV) => {
                Err(refused(format!("remove link {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Brings a link up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_up(&self, index: u32) -> Result<(), NetError> {
        let up = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(up).execute().await;
        set.map_err(refused(format!("bring link {index} up")))
    }

    /// Sees to it that the link has the address, at once: nobody is asked whether they have it, too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn address(&self, index: u32, address: IpNet) -> Result<(), NetError> {
        let (ip, prefix) = (address.addr(), address.prefix_len());
        let mut request = self.handle.address().add(index, ip, prefix).replace();
        if ip.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let added = request.execute().await;
        added.map_err(refused(format!("add address {address}")))
    }

    /// Sees to it that `address` is a permanent neighbour, so that nobody asks the link for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbour(&self, index: u32, address: IpAddr, mac: Mac) -> Result<(), NetError> {
        let neighbour = self.handle.neighbours().add(index, address);
        let neighbour = neighbour
            .link_layer_address(&mac.0)
            .state(NeighbourState::Permanent);
        let added = neighbour.replace().execute().await;
        added.map_err(refused(format!("add neighbour {address}")))
    }

    /// Sees to it that the route exists.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn route(&self, route: &Route) -> Result<(), NetError> {
        let added = self
            .handle
            .route()
            .add(route.message())
            .replace()
            .execute()
            .await;
        added.map_err(refused(format!("add route {}", route.to)))
    }

    /// Sees to it that the route does not exist.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_route(&self, route: &Route) -> Result<(), NetError> {
        match self.handle.route().del(route.message()).execute().await {
            Err(error) if errno(&error) != Some(nix::libc::ESRCH) => {
                Err(refused(format!("remove route {}", route.to))(error))
            }
            _ => Ok(()),
        }
    }

    /// The routes of one family in the main table that go through a gateway on link `index`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn gateway_routes(&self, index: u32, v6: bool) -> Result<Vec<Route>, NetError> {
        let any = if v6 {
            RouteMessageBuilder::<Ipv6Addr>::new().build()
        } else {
            RouteMessageBuilder::<Ipv4Addr>::new().build()
        };
        let routes = self.list("routes", |handle| handle.route().get(any).execute());
        Ok(routes
            .await?
            .iter()
            .filter_map(Route::read)
            .filter(|route| route.link == index && route.to.addr().is_ipv6() == v6)
            .collect())
    }

    /// The addresses of this namespace, each with the index of its link.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn addresses(&self) -> Result<Vec<(u32, IpAddr)>, NetError> {
        use netlink_packet_route::address::AddressAttribute;
        let messages = self.list("addresses", |handle| handle.address().get().execute());
        let local = |message: &netlink_packet_route::address::AddressMessage| {
            let own = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                // IPv6 tells it here, and IPv4 the other end of a point-to-point link.
                AddressAttribute::Address(address) if address.is_ipv6() => Some(*address),
                _ => None,
            };
            let address = message.attributes.iter().find_map(own)?;
            Some((message.header.index, address))
        };
        Ok(messages.await?.iter().filter_map(local).collect())
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub to: IpNet,
    /// Interface index.
    pub link: u32,
    /// Next hop; without one the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// Source that the node's own packets take.
    pub source: Option<IpAddr>,
    /// Whether the next hop is reached on the link without a route to it.
    pub onlink: bool,
    /// What packets are sent with, if the link is an overlay's device. Not read back from the kernel.
    pub tunnel: Option<Tunnel>,
}

/// Where an overlay's device sends the packets of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// Network identifier.
    pub vni: u32,
    /// Source of the outer packets.
    pub source: Ipv4Addr,
    /// Their destination.
    pub destination: Ipv4Addr,
}

impl Route {
    fn message(&self) -> RouteMessage {
        match self.to {
            IpNet::V4(to) => {
                let builder = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(to.addr(), to.prefix_len());
                let builder = match self.via {
                    Some(IpAddr::V4(via)) => builder.gateway(via),
                    _ => builder.scope(RouteScope::Link),
                };
                let builder = match self.source {
                    Some(IpAddr::V4(source)) => builder.pref_source(source),
                    _ => builder,
                };
                self.on_link(builder)
            }
            IpNet::V6(to) => {
                let builder = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(to.addr(), to.prefix_len());
                let builder = match self.via {
                    Some(IpAddr::V6(via)) => builder.gateway(via),
                    _ => builder,
                };
                let builder = match self.source {
                    Some(IpAddr::V6(source)) => builder.pref_source(source),
                    _ => builder,
                };
                self.on_link(builder)
            }
        }
    }

    fn on_link<T>(&self, builder: RouteMessageBuilder<T>) -> RouteMessage {
        let builder = builder.output_interface(self.link);
        let builder = match self.tunnel {
            Some(tunnel) => builder.encap_ip(vec![
                RouteIpTunnel::Id(tunnel.vni.into()),
                RouteIpTunnel::Source(tunnel.source),
                RouteIpTunnel::Destination(tunnel.destination),
            ]),
            None => builder,
        };
        if self.onlink {
            builder.onlink().build()
        } else {
            builder.build()
        }
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let length = message.header.destination_prefix_length;
        let any: IpAddr = match message.header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut route = Self {
            to: IpNet::new(any, length).ok()?,
            link: 0,
            via: None,
            source: None,
            onlink: false,
            tunnel: None,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(to) => {
                    route.to = IpNet::new(ip(to)?, length).ok()?;
                }
                RouteAttribute::Gateway(via) => route.via = ip(via),
                RouteAttribute::Oif(link) => route.link = *link,
                RouteAttribute::PrefSource(source) => route.source = ip(source),
                _ => {}
            }
        }
        route.via.is_some().then_some(route)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn enter(path: &Path) -> Result<(), NetError> {
    let failed = |source| NetError::Namespace {
        path: path.to_owned(),
        source,
    };
    let namespace = File::open(path).map_err(failed)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))
}

fn describe(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Mac([0; 6]),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => {
                link.mac = mac.as_slice().try_into().map_or(link.mac, Mac)
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    link
}
