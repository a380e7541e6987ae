//! The overlay's device: one VXLAN link that knows no peers. Each packet brings its destination
//! along, from a program or from a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use naru_ebpf_common::overlay::{DEVICE, PORT, VNI};
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkUnspec, LinkVxlan};

use super::netlink::{Link, NetError, Netlink, Tunnel, refused};
use super::sysctl;

/// Sees to it that the device is there, with this MTU, and returns it. `with_v6` says whether it
/// carries IPv6 packets. A device of the name that is something else is replaced.
///
/// # Errors
/// When the kernel refuses a step: for instance because another overlay has the UDP port.
pub async fn keep_overlay(netlink: &Netlink, mtu: u32, with_v6: bool) -> Result<Link, NetError> {
    let link = match netlink.link_message(DEVICE).await {
        Ok(message) if is_ours(&message) => netlink.link(DEVICE).await?,
        Ok(_) => {
            remove_overlay(netlink).await?;
            add(netlink, mtu).await?
        }
        Err(NetError::NoLink(_)) => add(netlink, mtu).await?,
        Err(error) => return Err(error),
    };
    sysctl::prepare_v6(DEVICE, with_v6)?;
    // What comes out of it was checked against the node that sent it.
    sysctl::set(&format!("ipv4/conf/{DEVICE}/rp_filter"), "0")?;
    // Everybody there is the one whom the packet is sent to: nobody has to be asked for.
    let wanted = LinkUnspec::new_with_index(link.index).mtu(mtu).arp(false);
    let set = netlink.handle.link().set(wanted.up().build()).execute();
    set.await.map_err(refused(format!("set up {DEVICE}")))?;
    Ok(Link {
        mtu,
        up: true,
        ..link
    })
}

/// Sees to it that there is no such device, and so no route over it.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove_overlay(netlink: &Netlink) -> Result<(), NetError> {
    netlink.remove_link(DEVICE).await
}

async fn add(netlink: &Netlink, mtu: u32) -> Result<Link, NetError> {
    let device = LinkVxlan::new(DEVICE, 0)
        .collect_metadata(true)
        .learning(false)
        .port(PORT)
        .mtu(mtu);
    let added = netlink.handle.link().add(device.build()).execute().await;
    added.map_err(refused(format!(
        "add the VXLAN device {DEVICE} on UDP port {PORT}"
    )))?;
    tracing::info!(link = DEVICE, mtu, port = PORT, vni = VNI, "overlay made");
    netlink.link(DEVICE).await
}

/// Whether a link is a device as [`add`] makes it.
fn is_ours(message: &LinkMessage) -> bool {
    let infos = message.attributes.iter().filter_map(|one| match one {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let data = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
        _ => None,
    });
    let wanted = [
        InfoVxlan::CollectMetadata(true),
        InfoVxlan::Learning(false),
        InfoVxlan::Port(PORT),
    ];
    data.is_some_and(|data| wanted.iter().all(|one| data.contains(one)))
}

/// The next hop to `node` on the device, in the family of `like`: IPv6 packets go to a link-local
/// address that holds the node's.
pub(super) fn gateway_on_overlay(node: Ipv4Addr, like: IpAddr) -> IpAddr {
    let [a, b, c, d] = node.octets();
    match like {
        IpAddr::V4(_) => node.into(),
        IpAddr::V6(_) => Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            0,
            0,
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d]),
        )
        .into(),
    }
}

/// What the node's own packets to `node` are sent with.
pub(super) fn tunnel_to(node: Ipv4Addr, own: Ipv4Addr) -> Tunnel {
    Tunnel {
        vni: VNI,
        source: own,
        destination: node,
    }
}
