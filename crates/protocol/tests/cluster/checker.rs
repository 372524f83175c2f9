//! What Raft promises, checked at every step (Raft thesis figure 3.2, and section 6.4 for reads).

use std::collections::BTreeMap;

use ruvector_protocol::{Entry, Envelope, Index, LogPosition, Message, NodeId, ReadId, Term};

use super::node::Node;

pub struct Checker {
    node_count: u64,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Every entry that anyone applied.
    pub committed: BTreeMap<Index, Entry>,
    /// Up to where each running node has applied.
    applied: BTreeMap<NodeId, Index>,
    /// What was committed when each waiting read was asked.
    reads: BTreeMap<(NodeId, ReadId), Index>,
    pub reads_served: u64,
    pub elections: u64,
}

impl Checker {
    pub fn new(node_count: u64) -> Self {
        Self {
            node_count,
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: BTreeMap::new(),
            applied: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_served: 0,
            elections: 0,
        }
    }

    pub fn last_committed(&self) -> Index {
        self.committed.keys().next_back().copied().unwrap_or_default()
    }

    /// Nobody grants two votes in one term, crashes in between or not.
    pub fn sent(&mut self, envelope: &Envelope) {
        if let Message::VoteResponse(response) = &envelope.message
            && response.granted
        {
            let first = *self.votes.entry((envelope.from, envelope.term)).or_insert(envelope.to);
            assert_eq!(first, envelope.to, "node {} votes twice in term {}", envelope.from, envelope.term);
        }
    }

    /// Election safety and leader completeness.
    pub fn elected(&mut self, leader: NodeId, term: Term, nodes: &BTreeMap<NodeId, Node>) {
        self.elections += 1;
        let first = *self.leaders.entry(term).or_insert(leader);
        assert_eq!(first, leader, "two leaders in term {term}");
        let log = nodes[&leader].intended_disk();
        for entry in self.committed.values().filter(|entry| entry.term < term) {
            assert!(
                log.holds(entry.position()),
                "leader {leader} of term {term} lacks the committed entry {:?}",
                entry.position()
            );
        }
    }

    /// State machine safety; and that what is committed is durable at a majority.
    pub fn applied(&mut self, id: NodeId, entry: Entry, nodes: &BTreeMap<NodeId, Node>) {
        let expected = self.applied.get(&id).copied().unwrap_or(nodes[&id].disk.base.position.index).next();
        assert_eq!(entry.index, expected, "node {id} applies out of order");
        self.applied.insert(id, entry.index);
        if let Some(first) = self.committed.get(&entry.index) {
            assert_eq!(*first, entry, "node {id} applies another entry at {}", entry.index);
            return;
        }
        let holders = nodes.values().filter(|node| node.ever_held(entry.position())).count() as u64;
        assert!(
            2 * holders > self.node_count,
            "node {id} applies {:?}, durable at only {holders} of {} nodes",
            entry.position(),
            self.node_count
        );
        self.committed.insert(entry.index, entry);
    }

    pub fn installed(&mut self, id: NodeId, index: Index) {
        self.applied.insert(id, index);
    }

    pub fn crashed(&mut self, id: NodeId) {
        self.applied.remove(&id);
        self.reads.retain(|(node, _), _| *node != id);
    }

    pub fn asked(&mut self, id: NodeId, read: ReadId) {
        self.reads.insert((id, read), self.last_committed());
    }

    /// A read sees everything that was committed when it was asked.
    pub fn served(&mut self, id: NodeId, reads: &[ReadId], index: Index) {
        for read in reads {
            let needed =
                self.reads.remove(&(id, *read)).expect("a served read was asked and not answered yet");
            assert!(index >= needed, "read {} at node {id} sees {index}, but {needed} was committed", read.0);
            self.reads_served += 1;
        }
    }

    pub fn reads_refused(&mut self, id: NodeId, reads: &[ReadId]) {
        for read in reads {
            self.reads.remove(&(id, *read)).expect("a refused read was asked and not answered yet");
        }
    }

    /// Log matching: logs that hold the same position hold the same entries up to it.
    pub fn logs_match(&self, nodes: &BTreeMap<NodeId, Node>) {
        let logs: Vec<_> = nodes.values().map(|node| node.intended_disk().entries).collect();
        for (one, other) in logs.iter().flat_map(|one| logs.iter().map(move |other| (one, other))) {
            let by_index: BTreeMap<Index, &Entry> = other.iter().map(|entry| (entry.index, entry)).collect();
            let shared = one
                .iter()
                .filter(|entry| by_index.get(&entry.index).is_some_and(|twin| twin.term == entry.term))
                .map(Entry::position)
                .max_by_key(|position| position.index)
                .unwrap_or(LogPosition::default());
            for entry in one.iter().filter(|entry| entry.index <= shared.index) {
                let twin = by_index.get(&entry.index);
                assert!(
                    twin.is_none_or(|twin| *twin == entry),
                    "logs share {shared:?} but differ before it: {entry:?} and {twin:?}"
                );
            }
        }
    }
}
