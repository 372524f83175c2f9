//! Snapshots between replicas while the leader changes, with every message in the test's hands.
#![allow(clippy::unwrap_used)]

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use bytes::Bytes;
use group::{FIRST, Group, SECOND, THIRD, concerns};
use recorder::Recorder;
use ruvector_node::Tuning;
use ruvector_node::replica::{Event, Ticket};
use ruvector_protocol::{Envelope, Index, Message};
use ruvector_storage::Disk;

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
    propose_all(&mut group, |envelope| concerns(envelope, THIRD));
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

/// All commands, one after the other, at the first node.
fn propose_all(group: &mut Group<Recorder>, is_lost: impl Fn(&Envelope) -> bool) {
    for number in 0..COMMANDS {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
        group.deliver(&is_lost);
    }
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

#[test]
fn a_damaged_snapshot_ends_all_its_transfers() {
    let mut group = Group::start(&tuning());
    group.elect(FIRST, |_| false);
    propose_all(&mut group, |envelope| concerns(envelope, THIRD));
    for node in [SECOND, THIRD] {
        group.handle(FIRST, Event::PeerLost(node));
    }
    group.restart_empty(SECOND, 2);
    let newest =
        group.disk(FIRST).list("snapshots").unwrap().into_iter().max_by_key(|name| name.len()).unwrap();
    let file = format!("snapshots/{newest}");
    let middle = group.disk(FIRST).contents(&file).unwrap().len() as u64 / 2;
    assert!(group.disk(FIRST).flip_bit(&file, middle, 0));
    // The second finds out what it was sent; the third is still being sent the same.
    let slow = |envelope: &Envelope| {
        envelope.from == THIRD && matches!(envelope.message, Message::SnapshotChunkResponse(_))
    };
    for _ in 0..20 {
        group.heartbeat(FIRST, slow);
    }
    assert!(group.disk(FIRST).contents(&file).is_none(), "nobody has noticed the damage");
    for _ in 0..100 {
        group.heartbeat(FIRST, |_| false);
    }
    for node in [SECOND, THIRD] {
        assert_eq!(group.replica(node).view().len() as u64, COMMANDS, "of {node:?}");
    }
}

/// The first node leads and sends a snapshot to the third; what comes of its first chunks is in the test's hands. No chunk is
/// smaller than what a command takes in the log.
fn transfer_begun() -> Group<Recorder> {
    let mut group = Group::start(&Tuning { snapshot_chunk_bytes: 200, ..tuning() });
    group.elect(FIRST, |_| false);
    propose_all(&mut group, |envelope| concerns(envelope, THIRD));
    group.handle(FIRST, Event::PeerLost(THIRD));
    for _ in 0..20 {
        group.now = group.now.after_micros(30_000);
        group.handle(FIRST, Event::Wake);
        while !group.network.iter().any(is_chunk)
            && let Some(envelope) = group.network.pop_front()
        {
            group.handle(envelope.to, Event::Message(envelope));
        }
        if group.network.iter().any(is_chunk) {
            return group;
        }
    }
    panic!("no snapshot was sent");
}

/// Delivers everything, a millisecond for each message about the snapshot, until no chunk is under way; returns
/// how many were at most.
fn deliver_chunks(group: &mut Group<Recorder>) -> usize {
    let mut most = 0;
    loop {
        let chunks = group.network.iter().filter(|envelope| is_chunk(envelope)).count();
        most = most.max(chunks);
        let Some(envelope) = group.network.pop_front() else { return most };
        if is_chunk(&envelope) {
            group.now = group.now.after_micros(1_000);
        }
        group.handle(envelope.to, Event::Message(envelope));
    }
}

#[test]
fn a_transfer_goes_on_without_a_rest_while_nothing_else_happens() {
    let mut group = transfer_begun();
    let most = deliver_chunks(&mut group);
    assert_eq!(most, 4);
    group.heartbeat(FIRST, |_| false);
    assert_eq!(group.replica(THIRD).view().len() as u64, COMMANDS);
}

#[test]
fn a_transfer_rests_between_chunks_while_commands_come() {
    let mut group = transfer_begun();
    let mut chunks = 0;
    for number in COMMANDS.. {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
        let most = deliver_chunks(&mut group);
        chunks += most;
        if group.replica(THIRD).applied().index > Index(COMMANDS) {
            break;
        }
        if number > COMMANDS {
            assert!(most <= 1, "{most} chunks under way beside commands");
        }
        group.handle(FIRST, Event::Wake);
        assert!(!group.network.iter().any(is_chunk), "no rest");
        let longest = group.now.after_micros(8_000);
        while !group.network.iter().any(is_chunk) {
            let now = group.now;
            let deadline = group.replica(FIRST).deadline(now).unwrap();
            assert!(deadline > now && deadline <= longest, "nobody ends the rest: {deadline:?}");
            group.now = deadline;
            group.handle(FIRST, Event::Wake);
        }
    }
    assert!(chunks > 8, "{chunks}");
}
