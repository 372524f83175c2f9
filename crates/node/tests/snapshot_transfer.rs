//! Snapshots between replicas while the leader changes, with every message in the test's hands.

#[path = "support/recorder.rs"]
mod recorder;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use recorder::Recorder;
use ruvector_node::replica::{Event, Output, Replica, ReplicaConfig, Ticket};
use ruvector_node::{NodeId, Tuning};
use ruvector_protocol::{Envelope, Incarnation, Membership, Message, Timestamp};
use ruvector_storage::SimulatedDisk;

const FIRST: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);
const COMMANDS: u64 = 200;

/// Three replicas, one clock, and a network that loses what the test says.
struct Group {
    replicas: Vec<Replica<Recorder>>,
    now: Timestamp,
    network: VecDeque<Envelope>,
    outputs: Vec<Output<Recorder>>,
}

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

impl Group {
    fn start() -> Self {
        let now = Timestamp(1_000_000);
        let voters = [FIRST, SECOND, THIRD];
        let replicas = voters.map(|node| {
            let config = ReplicaConfig {
                node,
                incarnation: Incarnation(1),
                membership: Membership { voters: voters.into() },
                tuning: tuning(),
                seed: node.0,
                #[cfg(feature = "planted-bugs")]
                planted_bug: None,
            };
            let disk = Arc::new(SimulatedDisk::new());
            Replica::open(config, disk, Recorder::default(), now).expect("an empty disk opens")
        });
        Self { replicas: replicas.into(), now, network: VecDeque::new(), outputs: Vec::new() }
    }

    fn replica(&mut self, node: NodeId) -> &mut Replica<Recorder> {
        &mut self.replicas[usize::try_from(node.0 - 1).expect("small")]
    }

    /// Hands over an event and does at once all that follows from it, but for messages.
    fn handle(&mut self, node: NodeId, event: Event) {
        let (now, mut outputs) = (self.now, std::mem::take(&mut self.outputs));
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let replica = self.replica(node);
            replica.handle(now, event, &mut outputs).expect("the disk is well");
            while !replica.is_settled() {
                replica.flush(now, &mut outputs).expect("the disk is well");
                replica.apply(now, &mut outputs).expect("the disk is well");
            }
            for output in outputs.drain(..) {
                match output {
                    Output::Send(envelope) => self.network.push_back(envelope),
                    Output::Run(job) => events.push_back(job.run()),
                    Output::Proposed { .. }
                    | Output::ReadReady { .. }
                    | Output::SnapshotCreated { .. }
                    | Output::LogCompacted { .. }
                    | Output::Published => {}
                }
            }
        }
        self.outputs = outputs;
    }

    /// Delivers messages until there are none, but loses those that `is_lost` names.
    fn deliver(&mut self, is_lost: impl Fn(&Envelope) -> bool) {
        while let Some(envelope) = self.network.pop_front() {
            if !is_lost(&envelope) {
                self.handle(envelope.to, Event::Message(envelope));
            }
        }
    }

    /// Lets time pass for one node until it leads.
    fn elect(&mut self, node: NodeId, is_lost: impl Fn(&Envelope) -> bool) {
        for _ in 0..100 {
            if self.replica(node).raft().leader() == Some(node) {
                return;
            }
            self.now = self.now.after_micros(400_000);
            self.handle(node, Event::Wake);
            self.deliver(&is_lost);
        }
        panic!("{node:?} was not elected");
    }

    /// Lets the node make itself heard.
    fn heartbeat(&mut self, node: NodeId, is_lost: impl Fn(&Envelope) -> bool) {
        self.now = self.now.after_micros(30_000);
        self.handle(node, Event::Wake);
        self.deliver(is_lost);
    }
}

fn concerns(envelope: &Envelope, node: NodeId) -> bool {
    envelope.from == node || envelope.to == node
}

/// The first node leads and has begun to send a snapshot to the third; the answers to its first chunks are
/// under way. The second leads meanwhile.
fn leader_replaced_in_a_transfer() -> (Group, Vec<Envelope>) {
    let mut group = Group::start();
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
