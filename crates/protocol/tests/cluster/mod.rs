//! A cluster in memory for tests: replicas with disks, a network and clocks, driven step by step.
//!
//! Everything that happens is written into a trace, and checked against what Raft promises.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod checker;
pub mod node;
pub mod render;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ruvector_protocol::{
    Config, Effect, Envelope, HardState, Incarnation, Index, Input, Membership, Message, NodeId, Origin,
    Proposal, ReadId, ReadLevel, SnapshotMeta, Term, Timestamp,
};

use self::checker::Checker;
pub use self::node::Disk;
use self::node::Node;

/// What is under way between two nodes.
#[derive(Clone, Debug)]
pub enum Parcel {
    Message(Envelope),
    Snapshot { from: NodeId, to: NodeId, term: Term, meta: SnapshotMeta },
}

impl Parcel {
    pub fn link(&self) -> (NodeId, NodeId) {
        match self {
            Self::Message(envelope) => (envelope.from, envelope.to),
            Self::Snapshot { from, to, .. } => (*from, *to),
        }
    }
}

pub struct Cluster {
    pub nodes: BTreeMap<NodeId, Node>,
    pub network: VecDeque<Parcel>,
    /// Links that lose everything.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose disks complete nothing.
    pub stalled_disks: BTreeSet<NodeId>,
    /// A copy of some node's disk.
    pub backup: Disk,
    pub now_us: u64,
    pub trace: Vec<String>,
    pub checker: Checker,
    next_sequence: u64,
    next_read: u64,
}

impl Cluster {
    /// A cluster of nodes 1 to `count`, which start now.
    pub fn new(count: u64, configure: impl Fn(NodeId) -> Config) -> Self {
        let membership = Membership { voters: (1..=count).map(NodeId).collect() };
        let nodes =
            membership.voters.iter().map(|id| (*id, Node::new(configure(*id), &membership))).collect();
        let mut cluster = Self {
            nodes,
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            stalled_disks: BTreeSet::new(),
            backup: Disk::default(),
            now_us: 1_000_000,
            trace: Vec::new(),
            checker: Checker::new(count),
            next_sequence: 0,
            next_read: 0,
        };
        for id in membership.voters {
            cluster.restart(id);
        }
        cluster.trace.clear();
        cluster
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].raft.is_some()
    }

    /// Whether its disk has not completed a write of its vote.
    pub fn is_voting(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        let is_vote = |state: &HardState| state.term > node.disk.hard_state.term && state.voted_for.is_some();
        self.is_up(id) && node.unsynced.iter().any(|write| write.hard_state.as_ref().is_some_and(is_vote))
    }

    /// Starts a node from what its disk holds.
    pub fn restart(&mut self, id: NodeId) {
        let now = self.local_time(id);
        self.nodes.get_mut(&id).unwrap().start(now);
    }

    /// Stops a node; of its unfinished writes only the first `kept` reach the disk.
    pub fn crash(&mut self, id: NodeId, kept: usize) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.raft = None;
        let lost = node.unsynced.split_off(kept.min(node.unsynced.len()));
        node.sync_all();
        self.stalled_disks.remove(&id);
        self.checker.crashed(id);
        self.trace.push(format!("{id} crashes, {} unfinished writes are lost", lost.len()));
    }

    pub fn local_time(&self, id: NodeId) -> Timestamp {
        self.nodes[&id].local_time(self.now_us)
    }

    /// A node that is down gets another disk.
    pub fn replace_disk(&mut self, id: NodeId, disk: Disk) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.raft.is_none(), "{id} runs");
        let membership = node.disk.base.membership.clone();
        let forgotten = std::mem::replace(&mut node.disk, disk);
        node.forgotten.push(forgotten);
        node.disk.base.membership = membership;
    }

    /// Whether a node may lose its disk so that still only a minority remembers nothing.
    pub fn may_forget(&self, id: NodeId) -> bool {
        let is_newcomer =
            |(other, node): &(&NodeId, &Node)| **other == id || node.disk.hard_state.is_newcomer;
        2 * self.nodes.iter().filter(is_newcomer).count() < self.nodes.len()
    }

    /// Gives a node an input and does what it asks for.
    pub fn step(&mut self, id: NodeId, input: Input) {
        let now = self.local_time(id);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(raft) = self.nodes.get_mut(&id).unwrap().raft.as_mut() else { return };
            let mut effects = Vec::new();
            raft.step(now, input, &mut effects);
            for effect in effects {
                self.perform(id, now, effect, &mut inputs);
            }
        }
    }

    fn perform(&mut self, id: NodeId, now: Timestamp, effect: Effect, inputs: &mut VecDeque<Input>) {
        self.trace.extend(render::effect(id, &effect));
        let node = self.nodes.get_mut(&id).unwrap();
        match effect {
            Effect::Persist(write) => node.unsynced.push_back(write),
            Effect::Send(envelope) => {
                self.checker.sent(&envelope);
                self.network.push_back(Parcel::Message(envelope));
            }
            Effect::Apply(entries) => {
                node.unanswered_apply = entries.last().map(|entry| entry.index);
                for entry in entries {
                    self.checker.applied(id, entry, &self.nodes);
                }
            }
            Effect::ServeRead { ids, index, lease_until } => {
                assert!(lease_until.is_none_or(|until| until > now), "lease read served after the lease");
                self.checker.served(id, &ids, index);
            }
            Effect::RejectReads { ids, reason: _ } => self.checker.reads_refused(id, &ids),
            Effect::RejectProposals { .. } => {}
            Effect::LoadEntries { to, from, through, bytes_max } => {
                let entries = node.disk.load(from, through, bytes_max);
                inputs.push_back(Input::EntriesLoaded { to, entries });
            }
            Effect::SendSnapshot { to } => {
                let meta = node.snapshot.clone().unwrap();
                let term = node.raft.as_ref().unwrap().term();
                self.network.push_back(Parcel::Snapshot { from: id, to, term, meta });
            }
            Effect::InstallSnapshot(meta) => {
                self.checker.installed(id, meta.position.index);
                node.unanswered_apply = None;
                node.snapshot = Some(meta);
            }
            Effect::EntriesLost { .. }
            | Effect::IncarnationSuperseded { .. }
            | Effect::Contradicted { .. } => node.raft = None,
            Effect::FollowerContradicts { .. } => {}
            Effect::LeaderChanged { leader, term } => {
                if leader == Some(id) {
                    self.checker.elected(id, term, &self.nodes);
                }
            }
        }
    }

    /// Delivers what is under way at a place in the queue, or loses it if its link is cut.
    pub fn deliver_at(&mut self, place: usize) {
        let Some(parcel) = self.network.remove(place) else { return };
        let (from, to) = parcel.link();
        if self.cut.contains(&(from, to)) || !self.is_up(to) {
            self.lose(parcel);
            return;
        }
        self.trace.push(render::parcel(&parcel));
        match parcel {
            Parcel::Message(envelope) => self.step(to, Input::Receive(envelope)),
            Parcel::Snapshot { from, to, term, meta } => {
                let position = Some(meta.position);
                self.step(to, Input::SnapshotReceived { from, term, meta });
                self.step(from, Input::SnapshotSent { to, position });
            }
        }
    }

    pub fn lose(&mut self, parcel: Parcel) {
        self.trace.push(format!("{} LOST", render::parcel(&parcel)));
        if let Parcel::Snapshot { from, to, .. } = parcel {
            self.step(from, Input::SnapshotSent { to, position: None });
        }
    }

    /// A node's disk completes its oldest `count` writes.
    pub fn sync(&mut self, id: NodeId, count: usize) {
        let node = self.nodes.get_mut(&id).unwrap();
        let synced = (0..count).map_while(|_| node.sync_one()).last();
        if let Some(write) = synced {
            self.step(id, Input::Persisted(write));
        }
    }

    /// A node's state machine answers what it was given.
    pub fn answer_apply(&mut self, id: NodeId) {
        if let Some(index) = self.nodes.get_mut(&id).unwrap().unanswered_apply.take() {
            self.step(id, Input::Applied(index));
        }
    }

    /// A node takes a snapshot of what it has applied, and forgets the log before it.
    pub fn compact(&mut self, id: NodeId) {
        let applied = self.nodes[&id].raft.as_ref().map_or(Index(0), |raft| raft.status().applied);
        if let Some(meta) = self.nodes.get_mut(&id).unwrap().compact(applied) {
            self.trace.push(format!("{id} compacts through {}", render::position(meta.position)));
            self.step(id, Input::Compacted(meta));
        }
    }

    /// Proposes a command so many times, at once.
    pub fn propose(&mut self, id: NodeId, command: &str, count: u64) {
        let incarnation = Incarnation(self.nodes[&id].starts);
        let propose = |sequence| {
            let origin = Origin { node: id, incarnation, sequence, settled_below: 0 };
            Proposal { origin, command: Bytes::copy_from_slice(command.as_bytes()) }
        };
        let first = self.next_sequence + 1;
        self.next_sequence += count;
        let proposals = (first..=self.next_sequence).map(propose).collect();
        self.step(id, Input::Propose(proposals));
    }

    pub fn read(&mut self, id: NodeId, level: ReadLevel) {
        self.next_read += 1;
        let read = ReadId(self.next_read);
        self.checker.asked(id, read);
        self.step(id, Input::Read { ids: vec![read], level });
    }

    pub fn wake(&mut self, id: NodeId) {
        self.step(id, Input::Wake);
    }

    /// The nodes that want to be woken by now.
    pub fn due(&self) -> Vec<NodeId> {
        let is_due = |node: &Node| {
            let deadline = node.raft.as_ref().and_then(|raft| raft.deadline());
            deadline.is_some_and(|deadline| deadline <= node.local_time(self.now_us))
        };
        self.nodes.iter().filter(|(_, node)| is_due(node)).map(|(id, _)| *id).collect()
    }

    /// When the next node wants to be woken, on the clock of the cluster.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.nodes.values().filter_map(|node| node.global_deadline_us()).min()
    }

    /// Lets everything happen that needs no time to pass.
    pub fn settle(&mut self) {
        let ids = self.ids();
        self.settle_waking(&ids);
    }

    /// The same, but of the nodes whose time has come only some notice.
    pub fn settle_waking(&mut self, awake: &[NodeId]) {
        for _ in 0..100_000 {
            if self.network.is_empty() && !self.settle_nodes(awake) {
                return;
            }
            self.deliver_at(0);
        }
        panic!("the cluster never comes to rest:\n{}", self.trace[self.trace.len() - 50..].join("\n"));
    }

    /// Completes writes and applies, and wakes who is due; returns whether anything was left to do.
    fn settle_nodes(&mut self, awake: &[NodeId]) -> bool {
        let mut is_busy = false;
        for id in self.ids() {
            if !self.stalled_disks.contains(&id) && !self.nodes[&id].unsynced.is_empty() && self.is_up(id) {
                self.sync(id, usize::MAX);
                is_busy = true;
            }
            if self.nodes[&id].unanswered_apply.is_some() && self.is_up(id) {
                self.answer_apply(id);
                is_busy = true;
            }
        }
        for id in self.due().into_iter().filter(|id| awake.contains(id)) {
            self.wake(id);
            is_busy = true;
        }
        is_busy
    }

    /// Lets time pass, with everything that happens in it.
    pub fn pass(&mut self, micros: u64) {
        let end = self.now_us + micros;
        self.settle();
        while let Some(deadline) = self.next_deadline_us().filter(|deadline| *deadline <= end) {
            self.now_us = self.now_us.max(deadline);
            self.settle();
        }
        self.now_us = end;
    }

    pub fn leader(&self) -> Option<NodeId> {
        let leads =
            |node: &Node| node.raft.as_ref().is_some_and(ruvector_protocol::Raft::is_established_leader);
        self.nodes.iter().filter(|(_, node)| leads(node)).map(|(id, _)| *id).next()
    }

    pub fn isolate(&mut self, left: &[NodeId], right: &[NodeId]) {
        for one in left {
            for other in right {
                self.cut.insert((*one, *other));
                self.cut.insert((*other, *one));
            }
        }
    }

    /// What is under way is lost if `is_lost` says so.
    pub fn lose_where(&mut self, is_lost: impl Fn(&Parcel) -> bool) {
        let (lost, kept): (Vec<_>, Vec<_>) = self.network.drain(..).partition(|parcel| is_lost(parcel));
        self.network = kept.into();
        for parcel in lost {
            self.lose(parcel);
        }
    }
}

/// Whether a parcel is a message that `test` accepts.
pub fn is_message(parcel: &Parcel, test: impl Fn(&Message) -> bool) -> bool {
    match parcel {
        Parcel::Message(envelope) => test(&envelope.message),
        Parcel::Snapshot { .. } => false,
    }
}
