//! The Raft core among hostile peers: one replica of a group of one or of three, or three that hear each other and
//! forged messages, too.
//!
//! What must hold, as `Raft::step` promises: no message makes a replica panic. And of each replica, whatever its
//! peers say: term, commit and applied index never fall; no second vote in a term; no vote and no acknowledgement
//! before it is durable; entries are applied in order, each once, none that is not on its own disk; every read is
//! answered once at most; the effects of an input are few and memory is bounded. (Safety of the cluster can't be asked
//! for: forged messages break it. The simulator and `crates/protocol/tests/random.rs` do that.)

#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use ruvector_fuzz::hostile::{Around, flag, node, proposals};
use ruvector_fuzz::replica::Replica;
use ruvector_fuzz::{byte, within_memory};
use ruvector_protocol::{Envelope, Incarnation, Input, NodeId, ReadLevel, RoleName, Timestamp};

const MEMORY_FIXED_BYTES: usize = 4 << 20;
/// A byte or two let a group of three send a batch of entries to each other.
const MEMORY_FACTOR: usize = 8_000;

/// How many messages may be under way; what is sent beyond is lost.
const UNDER_WAY_MAX: usize = 200;

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let (replicas, voters) = match byte(&mut input) % 4 {
        0 => (1, 1),
        1 | 2 => (1, 3),
        _ => (3, 3),
    };
    let voters: Vec<NodeId> = (1..=voters).map(NodeId).collect();
    let replicas = voters[..replicas].iter().map(|node| Replica::new(*node, &voters)).collect();
    let mut group = Group { replicas, under_way: Vec::new() };
    while !input.is_empty() {
        group.happens(&mut input);
    }
}

struct Group {
    replicas: Vec<Replica>,
    under_way: Vec<Envelope>,
}

impl Group {
    /// One thing that happens, to a replica that the input chooses.
    fn happens(&mut self, input: &mut Unstructured<'_>) {
        let choice = byte(input);
        let place = usize::from(choice >> 6) % self.replicas.len();
        let replica = &mut self.replicas[place];
        match choice & 63 {
            0..=19 => {
                let status = replica.status();
                let around = Around { node: replica.node, status: &status, now: replica.now };
                let envelope = around.envelope(input);
                replica.step(Input::Receive(envelope));
            }
            20..=29 => self.deliver(input),
            30..=34 => replica.sync(1 + usize::from(byte(input) % 4)),
            35..=36 => replica.answer_apply(),
            37..=44 => {
                let passed_us = u64::from(byte(input)) * 5_000;
                replica.now = Timestamp(replica.now.0 + passed_us);
                replica.step(Input::Wake);
            }
            45..=48 => replica.step(Input::Propose(proposals(input))),
            49 => replica.step(Input::ProposeTick),
            50..=51 => replica.read(if flag(input) { ReadLevel::Strong } else { ReadLevel::Lease }),
            52 => replica.step(Input::PeerLost(node(input))),
            53..=55 => replica.answer_followers(flag(input)),
            56..=57 => replica.compact(),
            58..=60 => {
                let status = replica.status();
                let around = Around { node: replica.node, status: &status, now: replica.now };
                let (from, term, meta) = (node(input), around.term(input), around.meta(input));
                replica.step(Input::SnapshotReceived { from, term, meta });
            }
            61 => replica.restart(),
            _ => self.campaign(place),
        }
        self.collect();
    }

    /// Delivers a message that a replica sent.
    fn deliver(&mut self, input: &mut Unstructured<'_>) {
        if self.under_way.is_empty() {
            return;
        }
        let envelope = self.under_way.remove(usize::from(byte(input)) % self.under_way.len());
        if let Some(replica) = self.replicas.iter_mut().find(|replica| replica.node == envelope.to) {
            replica.step(Input::Receive(envelope));
        }
    }

    /// Lets a replica become a leader if its peers would have it: hard to come upon byte by byte.
    fn campaign(&mut self, place: usize) {
        for _ in 0..6 {
            let replica = &mut self.replicas[place];
            if replica.status().role == RoleName::Leader {
                return;
            }
            replica.now = Timestamp(replica.now.0 + 700_000);
            replica.step(Input::Wake);
            replica.sync(usize::MAX);
            self.collect();
            self.answer_honestly(place);
        }
    }

    /// Peers that aren't there grant every vote.
    fn answer_honestly(&mut self, place: usize) {
        use ruvector_protocol::Message;
        use ruvector_protocol::message::{PreVoteResponse, VoteResponse};
        let present: Vec<NodeId> = self.replicas.iter().map(|replica| replica.node).collect();
        for request in std::mem::take(&mut self.under_way) {
            let message = if matches!(request.message, Message::PreVoteRequest(_)) {
                Message::PreVoteResponse(PreVoteResponse { granted: true })
            } else if matches!(request.message, Message::VoteRequest(_)) {
                Message::VoteResponse(VoteResponse { granted: true, incarnation: Incarnation(1) })
            } else {
                self.under_way.push(request);
                continue;
            };
            if present.contains(&request.to) {
                self.under_way.push(request);
            } else {
                let answer = Envelope { from: request.to, to: request.from, message, ..request };
                self.replicas[place].step(Input::Receive(answer));
            }
        }
    }

    fn collect(&mut self) {
        for replica in &mut self.replicas {
            self.under_way.append(&mut replica.sent);
        }
        self.under_way.truncate(UNDER_WAY_MAX);
    }
}
