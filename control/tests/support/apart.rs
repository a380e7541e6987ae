//! Network namespaces joined by a bridge, any two of which can be cut off from each other.

use std::process::Command;

/// The network of the addresses inside.
const NETWORK: &str = "10.99.0";

/// One namespace for whoever asks, and one for each member. Removed when dropped.
pub(crate) struct Apart {
    name: String,
    members: usize,
}

impl Apart {
    /// Makes them. Only root may.
    pub(crate) fn new(members: usize) -> Self {
        let name = format!("naru-apart-{}", std::process::id());
        let apart = Self { name, members };
        let hub = apart.hub();
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link set lo up"));
        ip(&format!("-n {hub} link add br0 type bridge"));
        ip(&format!("-n {hub} addr add {NETWORK}.1/24 dev br0"));
        ip(&format!("-n {hub} link set br0 up"));
        for index in 0..members {
            let (member, address) = (apart.netns(index), apart.address(index));
            ip(&format!("netns add {member}"));
            ip(&format!("-n {member} link set lo up"));
            ip(&format!(
                "-n {hub} link add p{index} type veth peer name eth0 netns {member}"
            ));
            ip(&format!("-n {hub} link set p{index} master br0 up"));
            ip(&format!("-n {member} addr add {address}/24 dev eth0"));
            ip(&format!("-n {member} link set eth0 up"));
        }
        apart
    }

    /// The namespace that reaches all members.
    pub(crate) fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    /// A member's namespace.
    pub(crate) fn netns(&self, member: usize) -> String {
        format!("{}-{member}", self.name)
    }

    /// A member's address.
    pub(crate) fn address(&self, member: usize) -> String {
        format!("{NETWORK}.{}", 11 + member)
    }

    /// Cuts a member off from the others, and not from the hub, or joins it again.
    pub(crate) fn cut(&self, member: usize, cut: bool) {
        let verb = if cut { "add" } else { "del" };
        for other in (0..self.members).filter(|other| *other != member) {
            for (from, to) in [(member, other), (other, member)] {
                let (from, to) = (self.netns(from), self.address(to));
                ip(&format!("-n {from} route {verb} blackhole {to}/32"));
            }
        }
    }

    /// Runs `work` on a thread inside the hub, and so do the threads that it starts.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.hub());
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = std::fs::File::open(path).unwrap();
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let members = (0..self.members).map(|index| self.netns(index));
        for netns in members.chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "del", &netns]).output();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("ip(8)");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}
