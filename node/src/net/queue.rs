//! Queues of interfaces that keep packets until they may leave: the qdisc `fq`.
//!
//! A qdisc that somebody chose is left alone; those that the kernel or a distribution gives every
//! interface are replaced. An interface with several hardware queues keeps them (`mq`), each with an
//! `fq` of its own; where the kernel turns out to have no `fq`, an `mq` that had no number has one
//! afterwards, and nothing else is different.

use futures_util::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use super::netlink::{NetError, Netlink, errno, refused};

const FAIR_QUEUE: &str = "fq";
const MULTI_QUEUE: &str = "mq";
/// What an interface has if nobody chose.
const REPLACEABLE: [&str; 3] = ["noqueue", "pfifo_fast", "fq_codel"];
/// The number of an `mq` that is put in the place of one without a number, whose classes nobody can
/// name.
const HANDLE: u16 = 0x6e61;

/// Why an interface does not keep packets.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The kernel lacks it.
    #[error(
        "this kernel has no qdisc fq, which keeps packets until they may leave: it needs \
         CONFIG_NET_SCH_FQ, or the module sch_fq"
    )]
    NoFairQueue,
    /// Somebody wants another one.
    #[error(
        "{link} has the qdisc {kind}, which somebody chose and is left alone: it takes fq (tc \
         qdisc replace dev {link} root fq)"
    )]
    Taken {
        /// The interface.
        link: String,
        /// What it has.
        kind: String,
    },
    /// The interface is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// The kernel refused.
    #[error(transparent)]
    Net(#[from] NetError),
}

impl Netlink {
    /// Sees to it that the link called `name` keeps packets until they may leave.
    ///
    /// # Errors
    /// See [`QueueError`].
    pub async fn fair_queue(&self, index: u32, name: &str) -> Result<(), QueueError> {
        match plan(&self.qdiscs(index).await?) {
            Plan::Nothing => Ok(()),
            Plan::Taken(kind) => Err(QueueError::Taken {
                link: name.to_owned(),
                kind,
            }),
            Plan::Root => self.put(index, name, FAIR_QUEUE, ROOT).await,
            Plan::Classes {
                handle,
                new,
                classes,
            } => {
                if new {
                    let root = Place { handle, ..ROOT };
                    self.put(index, name, MULTI_QUEUE, root).await?;
                }
                for minor in classes {
                    let parent = TcHandle {
                        major: handle.major,
                        minor,
                    };
                    let place = Place {
                        parent,
                        handle: TcHandle::UNSPEC,
                    };
                    self.put(index, name, FAIR_QUEUE, place).await?;
                }
                Ok(())
            }
        }
    }

    async fn qdiscs(&self, index: u32) -> Result<Vec<Qdisc>, NetError> {
        let all = self.list("qdiscs", |handle| {
            let link = index.cast_signed();
            handle.qdisc().get().index(link).execute()
        });
        // The kernel lists those of every link, whichever is asked for.
        let here = all
            .await?
            .into_iter()
            .filter(|qdisc| qdisc.header.index == index.cast_signed());
        Ok(here.map(Qdisc::read).collect())
    }

    async fn put(&self, index: u32, name: &str, kind: &str, at: Place) -> Result<(), QueueError> {
        let mut message = TcMessage::with_index(index.cast_signed());
        message.header.parent = at.parent;
        message.header.handle = at.handle;
        message.attributes.push(TcAttribute::Kind(kind.to_owned()));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let mut handle = self.handle.clone();
        let failed = || refused(format!("put the qdisc {kind} on {name}"));
        let mut answers = handle.request(request).map_err(failed())?;
        while let Some(answer) = answers.next().await {
            let NetlinkPayload::Error(error) = answer.payload else {
                continue;
            };
            let error = rtnetlink::Error::NetlinkError(error);
            match errno(&error) {
                None | Some(0) => {}
                // Of the link, the place and the kind, only the kind can be missing here.
                Some(nix::libc::ENOENT) => return Err(QueueError::NoFairQueue),
                Some(nix::libc::ENODEV) => return Err(QueueError::Gone(name.to_owned())),
                Some(_) => return Err(failed()(error).into()),
            }
        }
        Ok(())
    }
}

/// Where a qdisc is, and its number.
#[derive(Clone, Copy)]
struct Place {
    parent: TcHandle,
    handle: TcHandle,
}

const ROOT: Place = Place {
    parent: TcHandle::ROOT,
    handle: TcHandle::UNSPEC,
};

/// A qdisc of a link.
#[derive(Debug)]
struct Qdisc {
    kind: String,
    handle: TcHandle,
    parent: TcHandle,
}

impl Qdisc {
    fn read(message: TcMessage) -> Self {
        let kind = message
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                TcAttribute::Kind(kind) => Some(kind),
                _ => None,
            });
        Self {
            kind: kind.unwrap_or_default(),
            handle: message.header.handle,
            parent: message.header.parent,
        }
    }

    fn is_replaceable(&self) -> bool {
        REPLACEABLE.contains(&self.kind.as_str())
    }
}

/// What is to be done about a link.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// One `fq` for all.
    Root,
    /// One for each of these classes of an `mq`, which is put there first if it is `new`.
    Classes {
        handle: TcHandle,
        new: bool,
        classes: Vec<u16>,
    },
    /// Somebody chose this one.
    Taken(String),
}

fn plan(present: &[Qdisc]) -> Plan {
    let root = present.iter().find(|qdisc| qdisc.parent == TcHandle::ROOT);
    match root {
        None => Plan::Root,
        Some(root) if root.kind == FAIR_QUEUE => Plan::Nothing,
        Some(root) if root.is_replaceable() => Plan::Root,
        Some(root) if root.kind == MULTI_QUEUE => plan_of_classes(root, present),
        Some(root) => Plan::Taken(root.kind.clone()),
    }
}

fn plan_of_classes(root: &Qdisc, present: &[Qdisc]) -> Plan {
    let is_class =
        |qdisc: &&Qdisc| qdisc.parent.major == root.handle.major && qdisc.parent.minor != 0;
    let classes: Vec<_> = present.iter().filter(is_class).collect();
    let is_ours = |qdisc: &&&Qdisc| qdisc.kind == FAIR_QUEUE;
    let mut others = classes.iter().filter(|qdisc| !is_ours(qdisc));
    if let Some(chosen) = others.find(|qdisc| !qdisc.is_replaceable()) {
        return Plan::Taken(format!("{} in {MULTI_QUEUE}", chosen.kind));
    }
    let new = root.handle.major == 0;
    let wanted = classes.iter().filter(|qdisc| new || !is_ours(qdisc));
    let mut wanted: Vec<u16> = wanted.map(|qdisc| qdisc.parent.minor).collect();
    wanted.sort_unstable();
    // Queues that keep packets already keep them, whatever number their root has.
    if classes.iter().all(|qdisc| is_ours(&qdisc)) && !classes.is_empty() {
        return Plan::Nothing;
    }
    let handle = TcHandle {
        major: if new { HANDLE } else { root.handle.major },
        minor: 0,
    };
    Plan::Classes {
        handle,
        new,
        classes: wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INGRESS: TcHandle = TcHandle::INGRESS;

    fn qdisc(kind: &str, major: u16, parent: TcHandle) -> Qdisc {
        Qdisc {
            kind: kind.to_owned(),
            handle: TcHandle { major, minor: 0 },
            parent,
        }
    }

    fn class(major: u16, minor: u16) -> TcHandle {
        TcHandle { major, minor }
    }

    #[test]
    fn what_nobody_chose_is_replaced_and_what_is_right_stays() {
        assert_eq!(plan(&[]), Plan::Root);
        for kind in REPLACEABLE {
            let present = [
                qdisc("clsact", 0xffff, INGRESS),
                qdisc(kind, 0, TcHandle::ROOT),
            ];
            assert_eq!(plan(&present), Plan::Root, "{kind}");
        }
        let chosen = |kind| plan(&[qdisc(kind, 0x8001, TcHandle::ROOT)]);
        assert_eq!(chosen("fq"), Plan::Nothing);
        assert_eq!(chosen("htb"), Plan::Taken("htb".to_owned()));
    }

    #[test]
    fn each_class_of_a_multi_queue_gets_one() {
        let present = [
            qdisc("mq", 0, TcHandle::ROOT),
            qdisc("fq_codel", 0, class(0, 2)),
            qdisc("fq_codel", 0, class(0, 1)),
        ];
        let expected = Plan::Classes {
            handle: class(HANDLE, 0),
            new: true,
            classes: vec![1, 2],
        };
        assert_eq!(plan(&present), expected);
        let present = [
            qdisc("mq", 1, TcHandle::ROOT),
            qdisc("fq", 0x8001, class(1, 1)),
            qdisc("pfifo_fast", 0, class(1, 2)),
        ];
        let expected = Plan::Classes {
            handle: class(1, 0),
            new: false,
            classes: vec![2],
        };
        assert_eq!(plan(&present), expected);
    }

    #[test]
    fn a_multi_queue_that_is_complete_or_chosen_stays() {
        let with = |kind| [qdisc("mq", 0, TcHandle::ROOT), qdisc(kind, 0, class(0, 1))];
        assert_eq!(plan(&with("fq")), Plan::Nothing);
        assert_eq!(plan(&with("cake")), Plan::Taken("cake in mq".to_owned()));
    }

    /// With a real link, of a namespace of its own: two queues, so that it may have an `mq`.
    #[tokio::test(flavor = "current_thread")]
    async fn the_kernel_takes_the_queues_or_says_that_it_has_none() {
        use nix::sched::{CloneFlags, unshare};
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("SKIPPED: no network namespace: {error}");
            return;
        }
        let netlink = Netlink::here().expect("a socket");
        let add = ["link", "add", "one", "numtxqueues", "2", "type", "veth"];
        let added = std::process::Command::new("ip").args(add).status();
        assert!(added.expect("ip").success());
        let link = netlink.link("one").await.expect("the link");
        netlink.set_up(link.index).await.expect("up");
        match netlink.fair_queue(link.index, "one").await {
            Ok(()) => {
                let present = netlink.qdiscs(link.index).await.expect("qdiscs");
                assert_eq!(plan(&present), Plan::Nothing, "{present:?}");
            }
            Err(QueueError::NoFairQueue) => eprintln!("this kernel has no fq"),
            Err(error) => panic!("{error}"),
        }
        // Several queues: what is done for them works with a qdisc that every kernel has.
        let root = Place {
            handle: class(HANDLE, 0),
            ..ROOT
        };
        netlink
            .put(link.index, "one", MULTI_QUEUE, root)
            .await
            .expect("mq");
        let place = Place {
            parent: class(HANDLE, 2),
            handle: TcHandle::UNSPEC,
        };
        netlink
            .put(link.index, "one", "pfifo", place)
            .await
            .expect("a class");
        let taken = netlink.fair_queue(link.index, "one").await;
        let taken = taken.expect_err("somebody chose").to_string();
        assert!(
            taken.starts_with("one has the qdisc pfifo in mq"),
            "{taken}"
        );
        let unknown = netlink.put(link.index, "one", "naru", ROOT).await;
        assert!(
            matches!(unknown, Err(QueueError::NoFairQueue)),
            "{unknown:?}"
        );
        let gone = netlink.fair_queue(4711, "two").await;
        assert!(matches!(gone, Err(QueueError::Gone(_))), "{gone:?}");
    }
}
