//! Snapshots between replicas while the leader changes, with every message in the test's hands.

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use bytes::Bytes;
use group::{FIRST, Group, SECOND, THIRD, concerns};
use recorder::Recorder;
use ruvector_node::Tuning;
use ruvector_node::replica::{Event, Ticket};
use ruvector_protocol::{Envelope, Message};

const COMMANDS: u64 = 200;

fn tuning() -> Tuning {
    Tuning {
        snapshot_entries: 10,
        retained_entries: 1,
        tail_bytes_max: 1,
        append_bytes_max: 1,
        snapshot_chunk_bytes: 100,
        ..Tuning::default()
    }
}

/// The first node leads and has begun to send a snapshot to the third; the answers to its first chunks are
/// under way. The second leads meanwhile.
fn leader_replaced_in_a_transfer() -> (Group<Recorder>, Vec<Envelope>) {
    let mut group = Group::start(&tuning());
    group.elect(FIRST, |_| false);
    let commands = |range: std::ops::Range<u64>| {
        Event::Propose(range.map(|number| (Ticket(number), Bytes::from(number.to_string()))).collect())
    };
    for number in 0..COMMANDS {
        group.handle(FIRST, commands(number..number + 1));
        group.deliver(|envelope| concerns(envelope, THIRD));
    }
    group.handle(FIRST, Event::PeerLost(THIRD));
    let mut answers = Vec::new();
    for _ in 0..20 {
        group.now = group.now.after_micros(30_000);
        group.handle(FIRST, Event::Wake);
        while let Some(envelope) = group.network.pop_front() {
            if matches!(envelope.message, Message::SnapshotChunkResponse(_)) {
                answers.push(envelope);
            } else {
                group.handle(envelope.to, Event::Message(envelope));
            }
        }
        if !answers.is_empty() {
            break;
        }
    }
    assert!(!answers.is_empty(), "no snapshot was sent");
    group.elect(SECOND, |envelope| concerns(envelope, FIRST));
    (group, answers)
}

fn is_chunk(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::SnapshotChunk(_))
}

#[test]
fn a_leader_that_was_replaced_ends_its_transfers() {
    let (mut group, answers) = leader_replaced_in_a_transfer();
    group.heartbeat(SECOND, |envelope| concerns(envelope, THIRD));
    assert_eq!(group.replica(FIRST).raft().leader(), Some(SECOND));
    for answer in answers {
        group.handle(FIRST, Event::Message(answer));
    }
    assert!(!group.network.iter().any(is_chunk), "the old leader sends on: {:?}", group.network);
}

#[test]
fn a_follower_takes_a_snapshot_from_its_leader_only() {
    let (mut group, answers) = leader_replaced_in_a_transfer();
    // The old leader was cut off and sends on.
    for answer in answers {
        group.handle(FIRST, Event::Message(answer));
    }
    let chunks: Vec<_> = group.network.drain(..).filter(is_chunk).collect();
    assert!(!chunks.is_empty());
    let term = group.replica(SECOND).raft().term();
    for chunk in chunks {
        group.handle(THIRD, Event::Message(Envelope { term, ..chunk }));
        assert!(group.network.is_empty(), "answered: {:?}", group.network);
    }
    for _ in 0..100 {
        group.heartbeat(SECOND, |envelope| concerns(envelope, FIRST));
        if group.replica(THIRD).view().len() as u64 == COMMANDS {
            return;
        }
    }
    panic!("the third is not caught up: {:?}", group.replica(THIRD).applied());
}
