//! A netlink socket of one network namespace, and the few operations that Naru needs.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope};
use nix::sched::{CloneFlags, setns};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

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
    /// A kernel parameter could not be set.
    #[error("cannot set {}", path.display())]
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

fn refused(operation: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetError {
    let operation = operation.into();
    move |source| NetError::Netlink { operation, source }
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
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
    handle: Handle,
}

impl Netlink {
    /// A socket in the daemon's own namespace.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn here() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
        tokio::spawn(connection);
        Ok(Self { handle })
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
        let mut links = self.handle.link().get().match_name(name).execute();
        match links.try_next().await {
            Ok(Some(message)) => Ok(describe(&message)),
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
        let links = self
            .handle
            .link()
            .get()
            .execute()
            .map_ok(|message| describe(&message));
        links.try_collect().await.map_err(refused("list links"))
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

    /// Sees to it that the link has the address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn address(&self, index: u32, address: Ipv4Net) -> Result<(), NetError> {
        let (ip, prefix) = (IpAddr::V4(address.addr()), address.prefix_len());
        let added = self
            .handle
            .address()
            .add(index, ip, prefix)
            .replace()
            .execute()
            .await;
        added.map_err(refused(format!("add address {address}")))
    }

    /// Sees to it that `address` is a permanent neighbour, so that nobody asks for it by ARP.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbour(&self, index: u32, address: Ipv4Addr, mac: Mac) -> Result<(), NetError> {
        let neighbour = self.handle.neighbours().add(index, IpAddr::V4(address));
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

    /// The IPv4 routes of the main table that go through a gateway on link `index`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn gateway_routes(&self, index: u32) -> Result<Vec<Route>, NetError> {
        let any = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> = self
            .handle
            .route()
            .get(any)
            .execute()
            .try_collect()
            .await
            .map_err(refused("list routes"))?;
        Ok(routes
            .iter()
            .filter_map(Route::read)
            .filter(|route| route.link == index)
            .collect())
    }

    /// The IPv4 addresses of this namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn addresses(&self) -> Result<Vec<(u32, Ipv4Addr)>, NetError> {
        use netlink_packet_route::address::AddressAttribute;
        let messages: Vec<_> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(refused("list addresses"))?;
        let local = |message: &netlink_packet_route::address::AddressMessage| {
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => {
                        Some((message.header.index, *address))
                    }
                    _ => None,
                })
        };
        Ok(messages.iter().filter_map(local).collect())
    }
}

/// An IPv4 route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub to: Ipv4Net,
    /// Interface index.
    pub link: u32,
    /// Next hop; without one the destination is on the link itself.
    pub via: Option<Ipv4Addr>,
    /// Source that the node's own packets take.
    pub source: Option<Ipv4Addr>,
    /// Whether the next hop is reached on the link without a route to it.
    pub onlink: bool,
}

impl Route {
    fn message(&self) -> RouteMessage {
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(self.to.addr(), self.to.prefix_len())
            .output_interface(self.link);
        builder = match self.via {
            Some(via) => builder.gateway(via),
            None => builder.scope(RouteScope::Link),
        };
        if let Some(source) = self.source {
            builder = builder.pref_source(source);
        }
        if self.onlink {
            builder = builder.onlink();
        }
        builder.build()
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let mut route = Self {
            to: Ipv4Net::new(
                Ipv4Addr::UNSPECIFIED,
                message.header.destination_prefix_length,
            )
            .ok()?,
            link: 0,
            via: None,
            source: None,
            onlink: false,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                    route.to = Ipv4Net::new(*to, message.header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Gateway(RouteAddress::Inet(via)) => route.via = Some(*via),
                RouteAttribute::Oif(link) => route.link = *link,
                RouteAttribute::PrefSource(RouteAddress::Inet(source)) => {
                    route.source = Some(*source)
                }
                _ => {}
            }
        }
        route.via.is_some().then_some(route)
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
