//! Snapshots between replicas while the leader changes, with every message in the test's hands.
#![allow(clippy::unwrap_used)]

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use std::cell::Cell;

use bytes::Bytes;
use group::{FIRST, Group, SECOND, THIRD, concerns, of_replica, said};
use recorder::Recorder;
use ruvector_node::replica::{
    Event, PeerMessage, ReplicaEnvelope, ReplicaMessage, SnapshotChunk, SnapshotChunkResponse, SnapshotJob,
    Ticket,
};
use ruvector_node::{Index, LogPosition, NodeId, Tuning};
use ruvector_protocol::SnapshotMeta;
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
fn leader_replaced_in_a_transfer() -> (Group<Recorder>, Vec<PeerMessage>) {
    let mut group = Group::start(&tuning());
    group.elect(FIRST, |_| false);
    propose_all(&mut group, |message| concerns(message, THIRD));
    group.handle(FIRST, Event::PeerLost(THIRD));
    let mut answers = Vec::new();
    for _ in 0..20 {
        group.now = group.now.after_micros(30_000);
        group.handle(FIRST, Event::Wake);
        while let Some(message) = group.network.pop_front() {
            if is_answer(&message) {
                answers.push(message);
            } else {
                group.handle(message.to(), Event::Message(message));
            }
        }
        if !answers.is_empty() {
            break;
        }
    }
    assert!(!answers.is_empty(), "no snapshot was sent");
    group.elect(SECOND, |message| concerns(message, FIRST));
    (group, answers)
}

/// All commands, one after the other, at the first node.
fn propose_all(group: &mut Group<Recorder>, is_lost: impl Fn(&PeerMessage) -> bool) {
    for number in 0..COMMANDS {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
        group.deliver(&is_lost);
    }
}

fn chunk_of(message: &PeerMessage) -> Option<&SnapshotChunk> {
    match of_replica(message)? {
        ReplicaMessage::SnapshotChunk(chunk) => Some(chunk),
        ReplicaMessage::SnapshotChunkResponse(_) | ReplicaMessage::StateHash(_) => None,
    }
}

fn is_chunk(message: &PeerMessage) -> bool {
    chunk_of(message).is_some()
}

fn is_answer(message: &PeerMessage) -> bool {
    matches!(of_replica(message), Some(ReplicaMessage::SnapshotChunkResponse(_)))
}

#[test]
fn a_leader_that_was_replaced_ends_its_transfers() {
    let (mut group, answers) = leader_replaced_in_a_transfer();
    group.heartbeat(SECOND, |message| concerns(message, THIRD));
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
    let chunks: Vec<_> = group.network.iter().filter_map(chunk_of).cloned().collect();
    group.network.clear();
    assert!(!chunks.is_empty());
    let term = group.replica(SECOND).raft().term();
    for chunk in chunks {
        // As it was sent, in a term that is over; and as if the sender led in this one.
        for term in [chunk.term, term] {
            let chunk = ReplicaMessage::SnapshotChunk(SnapshotChunk { term, ..chunk.clone() });
            group.handle(THIRD, said(FIRST, THIRD, chunk));
            assert!(group.network.is_empty(), "answered: {:?}", group.network);
        }
    }
    for _ in 0..100 {
        group.heartbeat(SECOND, |message| concerns(message, FIRST));
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
    propose_all(&mut group, |message| concerns(message, THIRD));
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
    let slow = |message: &PeerMessage| message.from() == THIRD && is_answer(message);
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
    propose_all(&mut group, |message| concerns(message, THIRD));
    group.handle(FIRST, Event::PeerLost(THIRD));
    for _ in 0..20 {
        group.now = group.now.after_micros(30_000);
        group.handle(FIRST, Event::Wake);
        while !group.network.iter().any(is_chunk)
            && let Some(message) = group.network.pop_front()
        {
            group.handle(message.to(), Event::Message(message));
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
        let chunks = group.network.iter().filter(|message| is_chunk(message)).count();
        most = most.max(chunks);
        let Some(message) = group.network.pop_front() else { return most };
        if is_chunk(&message) {
            group.now = group.now.after_micros(1_000);
        }
        group.handle(message.to(), Event::Message(message));
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

fn answer(from: NodeId, to: NodeId, position: LogPosition, next_offset: u64) -> Event {
    let response = SnapshotChunkResponse { position, next_offset };
    said(from, to, ReplicaMessage::SnapshotChunkResponse(response))
}

/// The offsets of the chunks under way, which are lost.
fn offsets(group: &mut Group<Recorder>) -> Vec<u64> {
    group.network.drain(..).filter_map(|message| Some(chunk_of(&message)?.offset)).collect()
}

/// The first chunk under way.
fn first_chunk(group: &Group<Recorder>) -> SnapshotChunk {
    group.network.iter().find_map(chunk_of).unwrap().clone()
}

/// The third says that it has all but the last byte, and then that it wants everything again: it found it damaged.
fn refuse_snapshot(group: &mut Group<Recorder>, chunk: &SnapshotChunk) {
    for next_offset in [chunk.total_bytes - 1, 0] {
        group.handle(FIRST, answer(THIRD, FIRST, chunk.meta.position, next_offset));
    }
}

#[test]
fn a_snapshot_that_a_follower_could_not_use_is_read_once_beside_the_replica() {
    let mut group = transfer_begun();
    group.keeps_jobs = true;
    let chunk = first_chunk(&group);
    let sent = offsets(&mut group);
    assert_eq!(sent.first(), Some(&0));
    refuse_snapshot(&mut group, &chunk);
    assert_eq!(group.jobs.len(), 1, "its own file is read by a job");
    group.network.clear();
    // Time passes, and the follower says it again: nothing is sent of a file that may be damaged, and it is not read twice.
    let sent = Cell::new(0);
    for _ in 0..60 {
        refuse_snapshot(&mut group, &chunk);
        group.heartbeat(FIRST, |message| {
            sent.set(sent.get() + usize::from(is_chunk(message)));
            is_chunk(message)
        });
    }
    assert_eq!((group.jobs.len(), sent.get()), (1, 0));
    group.network.clear();
    group.run_job();
    assert_eq!(offsets(&mut group).first(), Some(&0), "it is well, and sent from its beginning");
    for _ in 0..5 {
        refuse_snapshot(&mut group, &chunk);
        assert_eq!(group.jobs.len(), 0, "it was read a moment ago");
        assert!(offsets(&mut group).contains(&0));
    }
}

#[test]
fn a_snapshot_that_could_not_be_read_is_doubted_again() {
    let mut group = transfer_begun();
    group.keeps_jobs = true;
    let chunk = first_chunk(&group);
    offsets(&mut group);
    for _ in 0..3 {
        refuse_snapshot(&mut group, &chunk);
        let (node, job) = group.jobs.pop_front().expect("its own file is read by a job");
        group.handle(node, job.abandoned());
        assert!(offsets(&mut group).contains(&0), "nothing is known against it");
    }
}

#[test]
fn what_is_not_acknowledged_is_sent_again_after_a_while_and_given_up_in_the_end() {
    const TIMES_SENT_AGAIN: usize = 10;
    let mut group = transfer_begun();
    let given_up = first_chunk(&group).meta.position;
    let first = offsets(&mut group);
    // There is a newer one meanwhile: whoever begins anew begins with that.
    propose_all(&mut group, |message| concerns(message, THIRD));
    let mut sent_again = Vec::new();
    for _ in 0..200 {
        let now = group.now;
        group.now = group.replica(FIRST).deadline(now).unwrap().max(now);
        // The third lives, and answers nothing about snapshots.
        group.handle(FIRST, Event::Wake);
        while let Some(message) = group.network.pop_front() {
            if let Some(chunk) = chunk_of(&message) {
                sent_again.extend((chunk.offset == first[0]).then_some(chunk.meta.position));
            } else {
                group.handle(message.to(), Event::Message(message));
            }
        }
    }
    let of_the_first = sent_again.iter().take_while(|position| **position == given_up).count();
    assert_eq!(of_the_first, TIMES_SENT_AGAIN, "of {sent_again:?}");
    let newer = &sent_again[of_the_first..];
    assert!(!newer.is_empty(), "it is never given up");
    assert!(newer.iter().all(|position| *position > given_up), "{newer:?}");
    group.heartbeat(FIRST, |_| false);
    deliver_chunks(&mut group);
    for _ in 0..50 {
        group.heartbeat(FIRST, |_| false);
    }
    assert_eq!(group.replica(THIRD).view().len() as u64, 2 * COMMANDS, "it is not given up for ever");
}

#[test]
fn a_late_verification_leaves_a_newer_transfer_alone() {
    let mut group = transfer_begun();
    group.keeps_jobs = true;
    // All of the first leader's snapshot reaches the third, which takes its time to verify it.
    group.deliver(|_| false);
    while group.jobs.is_empty() {
        group.heartbeat(FIRST, |_| false);
    }
    let (node, job) = group.jobs.pop_front().unwrap();
    assert!(node == THIRD && matches!(job, SnapshotJob::Complete { .. }), "{node:?}: {job:?}");
    let applied = group.replica(THIRD).applied();
    // Another leader begins to send it a newer one.
    group.elect(SECOND, |message| concerns(message, FIRST));
    let chunk = {
        let meta = SnapshotMeta { position: group.replica(SECOND).applied(), ..SnapshotMeta::default() };
        let (term, data) = (group.replica(SECOND).raft().term(), Bytes::from(vec![1; 100]));
        SnapshotChunk { term, meta, total_bytes: 1_000, offset: 0, data }
    };
    let send = |group: &mut Group<Recorder>, offset: u64| {
        group.network.clear();
        let chunk = SnapshotChunk { offset, ..chunk.clone() };
        group.handle(THIRD, said(SECOND, THIRD, ReplicaMessage::SnapshotChunk(chunk)));
        let wanted = |message: PeerMessage| match of_replica(&message)? {
            ReplicaMessage::SnapshotChunkResponse(response) => Some(response.next_offset),
            ReplicaMessage::SnapshotChunk(_) | ReplicaMessage::StateHash(_) => None,
        };
        group.network.drain(..).find_map(wanted)
    };
    assert_eq!(send(&mut group, 0), Some(100));
    group.handle(THIRD, job.run());
    assert_eq!(group.replica(THIRD).applied(), applied, "it came from a leader that is one no more");
    assert_eq!(send(&mut group, 100), Some(200), "what came before is forgotten");
}

#[test]
fn a_snapshot_that_its_receiver_finds_damaged_is_received_again() {
    let mut group = transfer_begun();
    group.keeps_jobs = true;
    for message in &mut group.network {
        if let PeerMessage::Replica(ReplicaEnvelope {
            message: ReplicaMessage::SnapshotChunk(chunk), ..
        }) = message
        {
            let mut damaged = chunk.data.to_vec();
            damaged[50] ^= 1;
            chunk.data = damaged.into();
        }
    }
    group.deliver(|_| false);
    while group.jobs.is_empty() {
        group.heartbeat(FIRST, |_| false);
    }
    let (node, job) = group.jobs.pop_front().unwrap();
    assert!(node == THIRD && matches!(job, SnapshotJob::Complete { .. }), "{node:?}: {job:?}");
    let before = group.replica(THIRD).applied();
    group.handle(THIRD, job.run());
    group.keeps_jobs = false;
    assert_eq!(group.replica(THIRD).applied(), before, "it is not what it says it is");
    for _ in 0..50 {
        group.heartbeat(FIRST, |_| false);
    }
    // The first found its own file to be well. There is no other, so it is the same that came again.
    assert_eq!(group.replica(THIRD).view().len() as u64, COMMANDS);
}

#[test]
fn a_snapshot_that_could_not_be_written_is_tried_again_though_nothing_more_is_applied() {
    let mut group: Group<Recorder> = Group::start(&tuning());
    group.keeps_jobs = true;
    group.elect(FIRST, |_| false);
    for number in 0..20 {
        let command = (Ticket(number), Bytes::from(number.to_string()));
        group.handle(FIRST, Event::Propose(vec![command]));
        group.deliver(|_| false);
    }
    let mine = |group: &mut Group<Recorder>| {
        let at = group.jobs.iter().position(|(node, _)| *node == FIRST);
        at.and_then(|at| group.jobs.remove(at)).map(|(_, job)| job)
    };
    let mut waits = Vec::new();
    for _ in 0..3 {
        let job = mine(&mut group).unwrap();
        assert!(mine(&mut group).is_none(), "one at a time");
        let failed_at = group.now;
        group.handle(FIRST, job.abandoned());
        let is_tried = |group: &Group<Recorder>| group.jobs.iter().any(|(node, _)| *node == FIRST);
        for _ in 0..2_000 {
            if !is_tried(&group) {
                group.heartbeat(FIRST, |_| false);
            }
        }
        assert!(is_tried(&group), "it is never tried again");
        waits.push(group.now.micros_since(failed_at));
    }
    assert!(waits.is_sorted() && waits[0] > 1_000_000 && waits[2] > 3 * waits[0], "{waits:?}");
    let job = mine(&mut group).unwrap();
    group.handle(FIRST, job.run());
    assert!(group.replica(FIRST).newest_snapshot().is_some());
    assert!(group.replica(FIRST).first_index() > Index(1), "the log is cut behind it");
}

#[test]
fn a_node_that_stops_before_it_installs_what_it_received_begins_with_what_it_had() {
    let mut group = transfer_begun();
    group.keeps_jobs = true;
    group.deliver(|_| false);
    while group.jobs.is_empty() {
        group.heartbeat(FIRST, |_| false);
    }
    let applied = group.replica(THIRD).applied();
    let (node, job) = group.jobs.pop_front().unwrap();
    assert!(node == THIRD && matches!(job, SnapshotJob::Complete { .. }), "{node:?}: {job:?}");
    // The file gets its name, and the power goes.
    let _ = job.run();
    group.restart(THIRD, 2);
    assert!(group.replica(THIRD).applied() <= applied, "its log does not reach so far");
    assert!(!group.disk(THIRD).list("snapshots").unwrap().is_empty());
    group.keeps_jobs = false;
    for _ in 0..50 {
        group.heartbeat(FIRST, |_| false);
    }
    assert_eq!(group.replica(THIRD).view().len() as u64, COMMANDS);
}
