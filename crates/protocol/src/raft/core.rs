//! What a replica has in every role: its term and vote, its log, what is durable, what is applied.

use std::collections::BTreeMap;

use super::beat::next_beat;
use super::clock::{ClusterClock, Freshness};
use super::config::{Config, Restored};
use super::held::{HeldReplies, HeldReply, Reply};
use super::newcomer::learned::Newcomer;
use super::planted::PlantedBug;
use super::promise::Promise;
use super::writes::{Vote, Writes};
use crate::io::{Effect, ReadId, RejectReason, Write};
use crate::log::{Log, Unread};
use crate::message::{
    AppendOutcome, AppendResponse, Envelope, FollowerStamp, LeaderStamp, Message, VoteResponse,
};
use crate::random::Random;
use crate::types::{
    HardState, Incarnation, Index, LogPosition, Membership, NodeId, Proposal, Reign, SnapshotMeta, Term,
    Timestamp, WriteId,
};

/// A term that no cluster reaches by elections: a message with a higher one is damaged or forged.
const TERM_MAX: Term = Term(u64::MAX / 2);

/// An index that no log reaches.
const INDEX_MAX: Index = Index(u64::MAX / 2);

/// The state that does not depend on the role.
///
/// Invariants:
/// - the term never falls; the vote changes only with the term, or from none to one;
/// - `applied <= handed <= commit <= last`; what is handed out was durable here at that moment;
/// - the commit index never falls.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) membership: Membership,
    /// The time of the input that is being handled.
    pub(crate) now: Timestamp,
    /// The effects of that input so far.
    pub(crate) effects: Vec<Effect>,
    pub(crate) random: Random,
    term: Term,
    voted_for: Option<NodeId>,
    /// Whose reign the term is, if known.
    pub(super) reign: Option<Reign>,
    /// Since when this process knows that the term's leader has all that is committed here.
    pub(super) is_leader_compared: bool,
    /// Through where this process has seen that its log equals that of the term's leader.
    pub(super) matched: Index,
    /// This replica's state may be wrong: see [`Input::Suspect`](crate::Input::Suspect).
    pub(super) is_suspect: bool,
    /// How far replicas had come, each of them: what it acknowledged and was committed.
    pub(super) remembered: BTreeMap<NodeId, Index>,
    /// It is time to write that down, if there is news.
    pub(super) is_memory_due: bool,
    /// What followers had committed that this replica, when it led, did not have.
    pub(super) contradicted_by: BTreeMap<NodeId, LogPosition>,
    pub(crate) log: Log,
    commit: Index,
    /// Given out in [`Effect::Apply`].
    handed: Index,
    applied: Index,
    pub(crate) writes: Writes,
    held: HeldReplies,
    pub(crate) clock: ClusterClock,
    pub(crate) freshness: Freshness,
    /// Until when nobody gets this replica's vote since a leader was heard, or this replica started: what it promised
    /// before a restart may be within some leader's lease, and only time heals that.
    pub(crate) promise: Promise,
    /// What it has learned, if it remembers nothing of earlier starts.
    pub(super) newcomer: Option<Newcomer>,
    /// The last number used for a batch of reads. Begins anywhere, so that an answer to
    /// an earlier start of this node can't be mistaken for one to this.
    read_batch: u64,
    dropped_messages: u64,
}

impl Core {
    pub(crate) fn new(config: Config, restored: Restored, now: Timestamp) -> Self {
        let Restored { hard_state, remembered, base, unread, entries, applied, last_write } = restored;
        let is_unread_applied = unread.last.is_none_or(|(last, _)| last <= applied);
        assert!(is_unread_applied, "{unread:?} was not read, and {applied} is applied");
        let log = Log::new(&base, unread, entries);
        let last = log.last();
        assert!(
            base.position.index <= applied && applied <= last.index,
            "applied {applied} is not within the log, {:?} to {last:?}",
            base.position
        );
        let voted_for = hard_state.voted_for.filter(|_| hard_state.term >= last.term);
        let mut random = Random::seeded(config.seed);
        let earlier_us = match config.planted(PlantedBug::PromiseForgotten) {
            true => 0,
            false => hard_state.promised_us,
        };
        let is_newcomer = hard_state.is_newcomer && !config.planted(PlantedBug::EmptyDiskTrusted);
        Self {
            membership: base.membership,
            now,
            effects: Vec::new(),
            term: hard_state.term.max(last.term),
            voted_for,
            reign: hard_state.reign.filter(|_| hard_state.term >= last.term),
            is_leader_compared: false,
            matched: Index(0),
            is_memory_due: false,
            contradicted_by: BTreeMap::new(),
            is_suspect: false,
            commit: hard_state.commit.min(last.index).max(applied),
            handed: applied,
            applied,
            writes: Writes::new(last_write, hard_state, remembered.clone(), last.index),
            remembered,
            held: HeldReplies::default(),
            clock: ClusterClock::new(log.last_time(), now),
            freshness: Freshness::default(),
            promise: Promise::new(config.election_timeout_us, earlier_us, now),
            newcomer: is_newcomer.then(|| Newcomer::new(now)),
            read_batch: random.draw() >> 1,
            dropped_messages: 0,
            random,
            log,
            config,
        }
    }

    pub(crate) fn term(&self) -> Term {
        self.term
    }

    pub(crate) fn vote(&self) -> Vote {
        Vote { term: self.term, voted_for: self.voted_for, is_newcomer: self.is_newcomer() }
    }

    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    /// The last committed entry.
    pub(crate) fn committed(&self) -> LogPosition {
        let term = self
            .log
            .term_at(self.commit)
            .expect("what is committed is in the log or is what it begins behind");
        LogPosition { term, index: self.commit }
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    pub(crate) fn dropped_messages(&self) -> u64 {
        self.dropped_messages
    }

    /// A message that can't be right, or asks for what this replica can't do.
    pub(crate) fn drop_message(&mut self) {
        self.dropped_messages += 1;
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.membership.voters.contains(&self.config.node)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.is_voter() && self.membership.voters.len() == 1
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.membership.voters.iter().copied().filter(|voter| *voter != self.config.node).collect()
    }

    /// Whether the envelope is from a member to this replica, and of a possible term.
    pub(crate) fn is_from_peer(&self, envelope: &Envelope) -> bool {
        envelope.group == self.config.group
            && envelope.to == self.config.node
            && self.is_peer(envelope.from)
            && envelope.term <= TERM_MAX
    }

    pub(crate) fn is_peer(&self, node: NodeId) -> bool {
        node != self.config.node && self.membership.voters.contains(&node)
    }

    /// Whether a leader of `term` can have committed the entry at `position`.
    pub(crate) fn can_be(position: LogPosition, term: Term) -> bool {
        term <= TERM_MAX && position.term <= term && position.index <= INDEX_MAX
    }

    /// Whether a leader was heard so recently that its lease may still hold: no vote, and no higher
    /// term from a candidate, until then (Raft thesis sections 4.2.3 and 6.4.1).
    pub(crate) fn is_leader_recent(&self) -> bool {
        self.now < self.promise.withheld_until()
    }

    /// Whether a leader's lease forbids to vote.
    pub(crate) fn is_vote_withheld(&self) -> bool {
        self.is_leader_recent() && !self.config.planted(PlantedBug::VoteWhileLeaderHeard)
    }

    /// A fresh election timeout, in microseconds.
    pub(crate) fn draw_election_timeout_us(&mut self) -> u64 {
        let minimum = self.config.election_timeout_us;
        self.random.between(minimum, minimum.saturating_mul(2))
    }

    /// When a follower that hears nobody from now on stands for election: not before its own vote is free, which an
    /// earlier start may have promised for longer than this one's election timeout.
    pub(crate) fn draw_election_deadline(&mut self) -> Timestamp {
        let timeout_us = self.draw_election_timeout_us();
        let jitter_us = timeout_us - self.config.election_timeout_us;
        self.now.after_micros(timeout_us).max(self.promise.withheld_until().after_micros(jitter_us))
    }

    /// When a leader whose heartbeat was due makes itself heard again, see [`next_beat`].
    pub(crate) fn next_beat(&self) -> Timestamp {
        next_beat(self.now, &self.config)
    }

    pub(crate) fn next_read_batch(&mut self) -> u64 {
        self.read_batch = self.read_batch.wrapping_add(1);
        self.read_batch
    }

    /// Enters a higher term, in which nobody has this replica's vote yet.
    pub(crate) fn enter_term(&mut self, term: Term) {
        assert!(term > self.term, "term {term} entered from term {}", self.term);
        self.term = term;
        self.voted_for = None;
        self.reign = None;
        self.is_leader_compared = false;
        self.matched = Index(0);
    }

    /// Gives this term's vote.
    pub(crate) fn vote_for(&mut self, node: NodeId) {
        assert!(
            self.voted_for.is_none_or(|voted_for| voted_for == node),
            "second vote in term {}: for {node} after {:?}",
            self.term,
            self.voted_for
        );
        self.voted_for = Some(node);
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            voted_for: self.voted_for,
            commit: self.commit,
            is_newcomer: self.is_newcomer(),
            promised_us: self.promise.to_remember_us(self.now),
            reign: self.reign,
        }
    }

    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.send_in_term(to, self.term, message);
    }

    pub(crate) fn send_in_term(&mut self, to: NodeId, term: Term, message: Message) {
        let envelope = Envelope { group: self.config.group, from: self.config.node, to, term, message };
        self.effects.push(Effect::Send(envelope));
    }

    pub(crate) fn reject_reads(&mut self, ids: Vec<ReadId>, reason: RejectReason) {
        if !ids.is_empty() {
            self.effects.push(Effect::RejectReads { ids, reason });
        }
    }

    pub(crate) fn reject_proposals(&mut self, proposals: &[Proposal], reason: RejectReason) {
        if !proposals.is_empty() {
            let origins = proposals.iter().map(|proposal| proposal.origin).collect();
            self.effects.push(Effect::RejectProposals { origins, reason });
        }
    }

    pub(crate) fn follower_stamp(&self, leader: &LeaderStamp) -> FollowerStamp {
        self.stamp_answer(leader.sent_at, leader.read_round)
    }

    fn stamp_answer(&self, echo: Timestamp, read_round: u64) -> FollowerStamp {
        FollowerStamp {
            echo,
            read_round,
            responded_at: self.now,
            incarnation: self.config.incarnation,
            is_newcomer: self.writes.is_newcomer_durably(),
            promised_us: self.promise.spoken_us(self.writes.durable_promise_us()),
            committed: self.committed(),
            is_contradicted: false,
        }
    }

    /// The write after which all that was changed until now is durable.
    pub(crate) fn covering_write(&self) -> WriteId {
        self.writes.covering(&self.hard_state())
    }

    /// Grants the vote to a start of `to` as soon as it is durable.
    pub(crate) fn grant_vote(&mut self, to: NodeId, incarnation: Incarnation) {
        let is_durable = self.writes.is_vote_durable(self.vote());
        if is_durable || self.config.planted(PlantedBug::VoteBeforeDurable) {
            self.send(to, Message::VoteResponse(VoteResponse { granted: true, incarnation }));
        } else {
            self.hold(to, Reply::Vote { incarnation });
        }
    }

    /// Tells the leader that the log matches through `matched` as soon as that is durable.
    pub(crate) fn accept_append(&mut self, leader: NodeId, matched: Index, stamp: &LeaderStamp) {
        self.matched = self.matched.max(matched);
        let is_durable = matched <= self.writes.durable_index() && self.writes.is_vote_durable(self.vote());
        if is_durable || self.config.planted(PlantedBug::AcknowledgeBeforeDurable) {
            let stamp = self.follower_stamp(stamp);
            let outcome = AppendOutcome::Accepted { matched };
            self.send(leader, Message::AppendResponse(AppendResponse { outcome, stamp }));
        } else {
            let reply = Reply::Append { matched, echo: stamp.sent_at, read_round: stamp.read_round };
            self.hold(leader, reply);
        }
    }

    /// Holds a reply until what was changed until now is durable.
    fn hold(&mut self, to: NodeId, reply: Reply) {
        let after = self.covering_write();
        self.held.hold(HeldReply { after, to, term: self.term, reply });
    }

    /// A write is durable: what waited for it goes out.
    pub(crate) fn persisted(&mut self, id: WriteId) {
        self.writes.complete(id);
        for held in self.held.release(id, self.term) {
            let message = match held.reply {
                Reply::Vote { incarnation } => {
                    Message::VoteResponse(VoteResponse { granted: true, incarnation })
                }
                Reply::Append { matched, echo, read_round } => Message::AppendResponse(AppendResponse {
                    outcome: AppendOutcome::Accepted { matched },
                    stamp: self.stamp_answer(echo, read_round),
                }),
            };
            self.send(held.to, message);
        }
    }

    /// Everything through `index` is committed.
    ///
    /// # Panics
    /// If the log does not reach there.
    pub(crate) fn commit_through(&mut self, index: Index) {
        let last = self.log.last();
        assert!(index <= last.index, "commit {index} beyond the log's end {last:?}");
        self.commit = self.commit.max(index);
    }

    /// The state machine has applied everything through `index`.
    pub(crate) fn applied_through(&mut self, index: Index) {
        assert!(index <= self.handed, "applied {index}, but only {} was handed out", self.handed);
        self.applied = self.applied.max(index);
        self.freshness.applied(self.applied);
        self.trim_log();
    }

    fn trim_log(&mut self) {
        let through = self.applied.min(self.writes.durable_index());
        self.log.trim(through, self.config.tail_bytes_max);
    }

    /// The durable log now begins behind `meta`.
    pub(crate) fn compacted(&mut self, meta: &SnapshotMeta) {
        if meta.position.index <= self.log.base().index {
            return;
        }
        assert!(
            meta.position.index <= self.applied,
            "compacted to {:?}, but only {} is applied",
            meta.position,
            self.applied
        );
        self.log.compact(meta.position);
    }

    /// Replaces log and state by a snapshot that is ahead of both.
    pub(crate) fn install(&mut self, meta: SnapshotMeta) {
        let index = meta.position.index;
        assert!(index > self.commit, "snapshot at {index} installed over commit {}", self.commit);
        self.log = Log::new(&meta, Unread::default(), Vec::new());
        self.membership = meta.membership.clone();
        self.commit = index;
        self.handed = index;
        self.applied = index;
        self.freshness.applied(index);
        let write = self.writes.issue_snapshot(self.config.group, self.hard_state(), meta.clone());
        self.persist(write);
        self.effects.push(Effect::InstallSnapshot(meta));
    }

    /// What may be applied: committed, and durable here, so that no snapshot of this replica's state can
    /// ever be ahead of its own log.
    fn applicable(&self) -> Index {
        self.commit.min(self.writes.durable_index()).max(self.handed)
    }

    /// Whether entries wait to be handed out.
    pub(crate) fn is_apply_due(&self) -> bool {
        self.applicable() > self.handed
    }

    /// Hands newly committed entries to the state machine.
    pub(crate) fn hand_out(&mut self) {
        let through = self.applicable();
        if through > self.handed {
            let entries: Vec<_> = self.log.entries(self.handed.next(), through).cloned().collect();
            self.handed = through;
            self.effects.push(Effect::Apply(entries));
        }
    }

    /// Writes what changed, in one write.
    pub(crate) fn write_changes(&mut self) {
        let hard_state = self.hard_state();
        let is_memory_news = self.takes_memory_down();
        if !is_memory_news && !self.writes.is_write_due(&hard_state) {
            return;
        }
        let entries = match self.writes.unwritten_from() {
            Some(first) => self.log.entries(first, self.log.last().index).cloned().collect(),
            None => Vec::new(),
        };
        let mut write = self.writes.issue(self.config.group, hard_state, entries);
        if is_memory_news {
            self.writes.remember(&mut write, &self.remembered);
        }
        self.persist(write);
    }

    fn persist(&mut self, mut write: Write) {
        if self.config.planted(PlantedBug::VoteNotWritten)
            && let Some(hard_state) = &mut write.hard_state
        {
            hard_state.voted_for = None;
        }
        self.effects.push(Effect::Persist(write));
    }

    /// Whether a log that ends at `last` is at least as complete as this one (Raft thesis section 3.6.1).
    pub(crate) fn is_up_to_date(&self, last: LogPosition) -> bool {
        last >= self.log.last() || self.config.planted(PlantedBug::VoteForShorterLog)
    }
}
