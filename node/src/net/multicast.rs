//! Membership of this node in groups of one link (RFC 3810): what is sent to them is let through
//! by switches that listen to memberships, and by the network card.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Socket, Type};

/// Groups of one socket: the kernel bounds the memory that it spends on each (`optmem_max`).
const EACH: usize = 128;

/// Groups that are left when this is dropped.
#[derive(Debug)]
pub struct Groups {
    /// Interface index.
    link: u32,
    members: Vec<(Socket, BTreeSet<Ipv6Addr>)>,
}

impl Groups {
    /// No group of link `link` yet.
    #[must_use]
    pub fn of(link: u32) -> Self {
        Self {
            link,
            members: Vec::new(),
        }
    }

    /// Joins and leaves until the groups are those `wanted`.
    ///
    /// # Errors
    /// The first group that can't be joined; the next call tries again.
    pub fn set(&mut self, wanted: &BTreeSet<Ipv6Addr>) -> io::Result<()> {
        for (socket, groups) in &mut self.members {
            for group in groups.difference(wanted) {
                // A link that is gone has left by itself.
                let _ = socket.leave_multicast_v6(group, self.link);
            }
            groups.retain(|group| wanted.contains(group));
        }
        self.members.retain(|(_, groups)| !groups.is_empty());
        let has = |group: &&Ipv6Addr| self.members.iter().any(|(_, all)| all.contains(*group));
        let new: Vec<Ipv6Addr> = wanted.iter().filter(|group| !has(group)).copied().collect();
        new.into_iter().try_for_each(|group| self.join(group))
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        let mut members = self.members.iter_mut();
        if let Some((socket, groups)) = members.find(|(_, groups)| groups.len() < EACH) {
            socket.join_multicast_v6(&group, self.link)?;
            groups.insert(group);
            return Ok(());
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None)?;
        socket.join_multicast_v6(&group, self.link)?;
        self.members.push((socket, BTreeSet::from([group])));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups that the kernel has on the loopback link.
    fn joined() -> usize {
        let all = std::fs::read_to_string("/proc/self/net/igmp6").unwrap_or_default();
        let ours =
            |line: &&str| line.contains(" lo ") && line.contains("ff0200000000000000000001ffab");
        all.lines().filter(ours).count()
    }

    #[test]
    fn groups_are_joined_and_left_even_many() {
        let group = |k: u16| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xffab, k);
        let mut groups = Groups::of(1);
        if let Err(error) = groups.set(&(0..300).map(group).collect()) {
            eprintln!("SKIPPED: no IPv6 here: {error}");
            return;
        }
        assert_eq!((joined(), groups.members.len()), (300, 3));
        groups
            .set(&(290..310).map(group).collect())
            .expect("joined");
        assert_eq!((joined(), groups.members.len()), (20, 1));
        groups.set(&BTreeSet::new()).expect("left");
        assert_eq!(joined(), 0);
    }
}
