//! A replica of the protocol with a disk and a state machine of numbers, and everything that must hold of it whatever
//! its peers say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ruvector_protocol::message::{AppendOutcome, AppendResponse, VoteResponse};
use ruvector_protocol::raft::Restored;
use ruvector_protocol::{
    Config, Effect, Entry, Envelope, GroupId, HardState, Incarnation, Index, Input, LogPosition, Membership,
    Message, NodeId, Raft, RaftStatus, ReadId, SnapshotMeta, Term, Timestamp, Unread, Write, WriteId,
};

/// What one input can cause at most: a message or two to each peer for each entry, and a little more.
const EFFECTS_MAX: usize = 1_000;

/// What survives a crash.
#[derive(Clone, Debug, Default)]
struct Disk {
    hard_state: HardState,
    remembered: BTreeMap<NodeId, Index>,
    base: SnapshotMeta,
    entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, write: Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(remembered) = write.remembered {
            self.remembered = remembered;
        }
        if let Some(meta) = write.snapshot {
            self.base = meta;
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            assert_eq!(first.index, self.last().next(), "a gap in the durable log");
            self.entries.extend(write.entries);
        }
    }

    fn last(&self) -> Index {
        self.entries.last().map_or(self.base.position.index, |entry| entry.index)
    }
}

/// A replica under test.
#[derive(Debug)]
pub struct Replica {
    /// Which one.
    pub node: NodeId,
    /// Its clock.
    pub now: Timestamp,
    raft: Raft,
    disk: Disk,
    unsynced: VecDeque<Write>,
    /// How far the durable log reached during the last sync. A forged append may have made it shorter at once.
    reached: Index,
    /// Where the state machine is, and where it is told to be once it answers.
    applied: LogPosition,
    unanswered_apply: Option<Index>,
    applied_meta: SnapshotMeta,
    /// Reads that wait.
    reads: BTreeSet<ReadId>,
    next_read: u64,
    /// Messages that it sent.
    pub sent: Vec<Envelope>,
    /// What it wants to have read for its followers.
    loads: VecDeque<(NodeId, Index, Index)>,
    snapshots_wanted: BTreeMap<NodeId, u32>,
    before: RaftStatus,
    voted: BTreeMap<Term, NodeId>,
}

impl Replica {
    /// A replica of a new group.
    #[must_use]
    pub fn new(node: NodeId, voters: &[NodeId]) -> Self {
        let membership = Membership { voters: voters.iter().copied().collect() };
        let base = SnapshotMeta { membership, ..SnapshotMeta::default() };
        let disk = Disk { base: base.clone(), ..Disk::default() };
        let now = Timestamp(10_000_000);
        let raft = started(node, &disk, now);
        let before = raft.status();
        Self {
            node,
            now,
            raft,
            disk,
            unsynced: VecDeque::new(),
            reached: Index(0),
            applied: LogPosition::default(),
            unanswered_apply: None,
            applied_meta: base,
            reads: BTreeSet::new(),
            next_read: 0,
            sent: Vec::new(),
            loads: VecDeque::new(),
            snapshots_wanted: BTreeMap::new(),
            before,
            voted: BTreeMap::new(),
        }
    }

    /// What it shows of itself.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        self.raft.status()
    }

    /// Stops it at once and starts it from its disk; its state machine starts from the log's base.
    pub fn restart(&mut self) {
        self.unsynced.clear();
        self.loads.clear();
        self.snapshots_wanted.clear();
        self.reads.clear();
        self.unanswered_apply = None;
        self.applied = self.disk.base.position;
        self.applied_meta = self.disk.base.clone();
        self.raft = started(self.node, &self.disk, self.now);
        self.before = self.raft.status();
        self.check_status();
    }

    /// Gives it an input and takes what follows.
    ///
    /// # Panics
    /// If it breaks a promise.
    pub fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.raft.step(self.now, input, &mut effects);
        assert!(effects.len() <= EFFECTS_MAX, "{} effects of one input", effects.len());
        for effect in effects {
            self.take(effect);
        }
        self.check_status();
    }

    /// Lets its disk complete so many writes.
    pub fn sync(&mut self, count: usize) {
        let done: Vec<Write> = self.unsynced.drain(..count.min(self.unsynced.len())).collect();
        let Some(newest) = done.last().map(|write| write.id) else { return };
        self.reached = self.disk.last();
        for write in done {
            self.disk.write(write);
            self.reached = self.reached.max(self.disk.last());
        }
        self.step(Input::Persisted(newest));
    }

    /// Lets its state machine answer.
    pub fn answer_apply(&mut self) {
        if let Some(index) = self.unanswered_apply.take() {
            self.step(Input::Applied(index));
        }
    }

    /// Gives up the log through what is applied, as after a snapshot.
    pub fn compact(&mut self) {
        let meta = self.applied_meta.clone();
        let is_answered = self.unanswered_apply.is_none() && meta.position == self.applied;
        if is_answered && self.unsynced.is_empty() && meta.position.index > self.disk.base.position.index {
            self.disk.entries.retain(|entry| entry.index > meta.position.index);
            self.disk.base = meta.clone();
            self.step(Input::Compacted(meta));
        }
    }

    /// Asks for a read.
    pub fn read(&mut self, level: ruvector_protocol::ReadLevel) {
        self.next_read += 1;
        let id = ReadId(self.next_read);
        self.reads.insert(id);
        self.step(Input::Read { ids: vec![id], level });
    }

    /// Answers what it wanted to have read or sent.
    pub fn answer_followers(&mut self, snapshot_arrives: bool) {
        if let Some((to, from, through)) = self.loads.pop_front() {
            let held = self.disk.entries.iter().filter(|entry| (from..=through).contains(&entry.index));
            let entries: Vec<Entry> = held.cloned().collect();
            let is_held = entries.first().is_some_and(|entry| entry.index == from);
            self.step(Input::EntriesLoaded { to, entries: if is_held { entries } else { Vec::new() } });
        }
        if let Some((to, _)) = self.snapshots_wanted.pop_first() {
            let position = snapshot_arrives.then_some(self.disk.base.position);
            self.step(Input::SnapshotSent { to, position });
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(write) => self.persist(write),
            Effect::Send(envelope) => self.send(envelope),
            Effect::Apply(entries) => self.apply(entries),
            Effect::ServeRead { ids, .. } | Effect::RejectReads { ids, .. } => {
                for id in ids {
                    assert!(self.reads.remove(&id), "{id:?} is answered, but nobody waits for it");
                }
            }
            Effect::RejectProposals { origins, .. } => assert!(!origins.is_empty(), "nothing is rejected"),
            Effect::LoadEntries { to, from, through, .. } => {
                assert!(from <= through, "entries {from} to {through} are wanted");
                self.loads.push_back((to, from, through));
            }
            Effect::SendSnapshot { to } => *self.snapshots_wanted.entry(to).or_default() += 1,
            Effect::InstallSnapshot(meta) => {
                assert!(meta.position.index > self.applied.index, "a snapshot takes the state back");
                self.applied = meta.position;
                self.applied_meta = meta;
                self.unanswered_apply = None;
            }
            // It acknowledged what it says that it lacks only in the tales of its peers.
            Effect::EntriesLost { acknowledged, last } => assert!(acknowledged > last, "nothing is lost"),
            Effect::IncarnationSuperseded { .. } => {}
            // Forged messages can contradict what is committed.
            Effect::Contradicted { .. } | Effect::FollowerContradicts { .. } => {}
            Effect::LeaderChanged { term, .. } => {
                assert!(term >= self.before.term, "the term falls to {term}")
            }
        }
    }

    fn persist(&mut self, write: Write) {
        if let Some(before) = self.unsynced.back() {
            assert_eq!(write.id, before.id.next(), "writes are numbered one after another");
        }
        for pair in write.entries.windows(2) {
            assert_eq!(pair[1].index, pair[0].index.next(), "a gap within a write");
            assert!(pair[1].term >= pair[0].term, "the term falls within a write");
            assert!(pair[1].time >= pair[0].time, "cluster time falls within a write");
        }
        if let Some(HardState { term, voted_for: Some(node), .. }) = write.hard_state {
            let first = *self.voted.entry(term).or_insert(node);
            // A vote that was lost with the disk's cache was told to nobody.
            let is_told = self.disk.hard_state.term == term && self.disk.hard_state.voted_for == Some(first);
            assert!(first == node || !is_told, "two votes in term {term}: {first} and {node}");
        }
        self.unsynced.push_back(write);
    }

    fn send(&mut self, envelope: Envelope) {
        assert_eq!((envelope.group, envelope.from), (GroupId::METADATA, self.node));
        assert_ne!(envelope.to, self.node, "it sends to itself");
        let durable = self.disk.hard_state;
        match &envelope.message {
            Message::VoteResponse(VoteResponse { granted: true, .. }) => {
                let vote = (durable.term, durable.voted_for);
                assert_eq!(vote, (envelope.term, Some(envelope.to)), "a vote is told that is not durable");
            }
            Message::AppendResponse(AppendResponse {
                outcome: AppendOutcome::Accepted { matched }, ..
            }) => {
                assert!(*matched <= self.reached, "{matched} is acknowledged and is not durable");
            }
            Message::VoteRequest(_) => {
                let vote = (durable.term, durable.voted_for);
                assert_eq!(
                    vote,
                    (envelope.term, Some(self.node)),
                    "votes are asked for before its own is durable"
                );
            }
            Message::PreVoteRequest(_)
            | Message::PreVoteResponse(_)
            | Message::VoteResponse(_)
            | Message::AppendRequest(_)
            | Message::AppendResponse(_)
            | Message::Heartbeat(_)
            | Message::HeartbeatResponse(_)
            | Message::ForwardProposals(_)
            | Message::ReadIndexRequest(_)
            | Message::ReadIndexResponse(_)
            | Message::IntroductionRequest(_)
            | Message::IntroductionResponse(_) => {}
        }
        self.sent.push(envelope);
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            assert_eq!(entry.index, self.applied.index.next(), "entries are applied out of order");
            assert!(entry.index <= self.disk.last(), "entry {} is applied before it is durable", entry.index);
            assert!(
                self.disk.entries.contains(&entry),
                "entry {} is applied and not on the disk",
                entry.index
            );
            self.applied = entry.position();
            self.applied_meta = SnapshotMeta {
                position: entry.position(),
                time: entry.time,
                membership: self.applied_meta.membership.clone(),
            };
            self.unanswered_apply = Some(entry.index);
        }
    }

    fn check_status(&mut self) {
        let (before, now) = (&self.before, self.raft.status());
        assert!(now.term >= before.term, "the term falls from {} to {}", before.term, now.term);
        assert!(
            now.commit >= before.commit,
            "the commit index falls from {} to {}",
            before.commit,
            now.commit
        );
        assert!(now.applied >= before.applied, "applied falls from {} to {}", before.applied, now.applied);
        assert!(now.applied <= now.commit && now.commit <= now.last.index, "out of order: {now:?}");
        assert!(now.base.index <= now.applied, "the log begins behind what is applied: {now:?}");
        assert!(self.raft.deadline().is_none_or(|deadline| deadline.0 > 0), "a deadline before all time");
        self.before = now;
    }
}

fn started(node: NodeId, disk: &Disk, now: Timestamp) -> Raft {
    let config = Config {
        tail_bytes_max: 300,
        append_bytes_max: 300,
        inflight_bytes_max: 600,
        uncommitted_bytes_max: 2_000,
        // Some lead with gathering.
        gather_us: node.0 % 2 * 1_000,
        ..Config::new(GroupId::METADATA, node, Incarnation(1), node.0)
    };
    let restored = Restored {
        hard_state: disk.hard_state,
        remembered: disk.remembered.clone(),
        base: disk.base.clone(),
        unread: Unread::default(),
        entries: disk.entries.clone(),
        applied: disk.base.position.index,
        last_write: WriteId(0),
    };
    Raft::new(config, restored, now)
}
