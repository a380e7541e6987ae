//! Arbitrary packets: a reply is a DNS message of bounded size, and nothing panics.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use naru_dns::resolver::Step;
use naru_dns::wire::Transport;
use naru_dns::{Domain, Resolver, ResolverConfig, Zone};
use proptest::prelude::*;

fn resolver() -> Resolver {
    let zone = Zone::empty(
        Domain::parse("cluster.local").unwrap(),
        "127.0.0.1".parse().unwrap(),
    );
    Resolver::new(
        Arc::new(ArcSwap::from_pointee(zone)),
        ResolverConfig::default(),
    )
}

fn check(packet: &[u8]) {
    if let Step::Reply(reply) = resolver().receive(packet, Transport::Udp) {
        assert!(reply.len() <= 1232, "{}", reply.len());
        let message = Message::from_vec(&reply).expect("a reply that decodes");
        assert_eq!(message.metadata.message_type, MessageType::Response);
        assert_eq!(reply[..2], packet[..2]);
    }
}

fn question() -> Vec<u8> {
    let mut message = Message::query();
    let name = Name::from_ascii("a.b.svc.cluster.local.").unwrap();
    message.add_query(Query::query(name, RecordType::SRV));
    message.set_edns(hickory_proto::op::Edns::new());
    message.to_vec().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&packet);
    }

    #[test]
    fn any_bytes_behind_a_sound_header(body in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&[&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &body].concat());
    }

    #[test]
    fn a_question_with_flipped_bytes(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut packet = question();
        for (index, value) in flips {
            let at = index.index(packet.len());
            packet[at] = value;
        }
        check(&packet);
    }
}
