//! What a replica does while another leads, or nobody.

use super::core::Core;
use super::gathered::fitting_count;
use super::planted::PlantedBug;
use super::reads::FollowerReads;
use crate::io::{Effect, ReadId, ReadLevel, RejectReason};
use crate::message::{
    AppendOutcome, AppendRequest, AppendResponse, ForwardProposals, Heartbeat, HeartbeatResponse,
    LeaderStamp, Message, ReadIndexResponse,
};
use crate::types::{Entry, Index, LogPosition, NodeId, Proposal, SnapshotMeta, Term, Timestamp};

/// A follower's own data.
#[derive(Debug)]
pub(super) struct Follower {
    leader: Option<NodeId>,
    /// When it asks for a pre-vote, unless a leader is heard before.
    election_deadline: Timestamp,
    /// The leader's connection broke and it was not heard since.
    is_leader_lost: bool,
    /// It was woken much too late, and gave the leader a little more time for it.
    has_overslept: bool,
    reads: FollowerReads,
}

impl Follower {
    pub(super) fn new(core: &mut Core, leader: Option<NodeId>) -> Self {
        // Whoever is the only voter can disturb no other leader.
        let election_deadline = if core.is_alone() { core.now } else { core.draw_election_deadline() };
        Self {
            leader,
            election_deadline,
            is_leader_lost: false,
            has_overslept: false,
            reads: FollowerReads::default(),
        }
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub(super) fn is_leader_lost(&self) -> bool {
        self.is_leader_lost
    }

    pub(super) fn election_deadline(&self) -> Option<Timestamp> {
        Some(self.election_deadline)
    }

    /// Campaigns no later than at `deadline`.
    pub(super) fn campaign_by(&mut self, deadline: Timestamp) {
        self.election_deadline = self.election_deadline.min(deadline);
    }

    pub(super) fn deadline(&self, core: &Core) -> Option<Timestamp> {
        let election = core.may_vote().then_some(self.election_deadline);
        let reads = self.reads.deadline(core.config.heartbeat_interval_us);
        [election, reads].into_iter().flatten().min()
    }

    /// Time has passed; returns whether it is time to campaign.
    pub(super) fn wake(&mut self, core: &mut Core) -> bool {
        if let Some(leader) = self.leader {
            self.reads.wake(core, leader);
        }
        if !core.may_vote() || self.election_deadline > core.now {
            return false;
        }
        // Woken this late, this process did not run: perhaps the machine paused, and the leader with it. It
        // is heard soon, or it is gone and little time is lost.
        let interval_us = core.config.heartbeat_interval_us;
        let overslept = core.now.micros_since(self.election_deadline) > interval_us && !core.is_alone();
        if overslept && !std::mem::replace(&mut self.has_overslept, true) {
            self.election_deadline = core.now.after_micros(interval_us);
            return false;
        }
        true
    }

    /// Stops following: reads that wait for this leader are given back.
    pub(super) fn leave(self, core: &mut Core) {
        core.reject_reads(self.reads.into_ids(), RejectReason::LeadershipLost);
    }

    pub(super) fn leader_heard(&mut self, core: &mut Core) {
        core.promise.leader_heard(core.now);
        self.is_leader_lost = false;
        self.has_overslept = false;
        self.put_election_off(core);
    }

    /// Another replica got this one's vote, and time to make use of it.
    pub(super) fn vote_given(&mut self, core: &mut Core) {
        self.put_election_off(core);
    }

    fn put_election_off(&mut self, core: &mut Core) {
        self.election_deadline = core.draw_election_deadline();
    }

    /// The connection to a peer broke. If it was the leader, asks for a pre-vote as soon as the leader's lease
    /// can be over, and not a random time later. Asking sooner is of no use: neither this replica nor any
    /// other that heard the leader would vote.
    pub(super) fn peer_lost(&mut self, core: &mut Core, peer: NodeId) {
        if self.leader != Some(peer) || self.is_leader_lost {
            return;
        }
        self.is_leader_lost = true;
        let lease_over = core.promise.withheld_until().max(core.now);
        let jitter_us = core.random.between(0, core.config.heartbeat_interval_us / 2);
        self.campaign_by(lease_over.after_micros(jitter_us));
    }

    /// Sends proposals on to the leader, as many in a message as there may be in an append.
    pub(super) fn forward(&self, core: &mut Core, mut proposals: Vec<Proposal>) {
        let Some(leader) = self.leader else {
            core.reject_proposals(&proposals, RejectReason::NoLeader);
            return;
        };
        while !proposals.is_empty() {
            let rest = proposals.split_off(fitting_count(&proposals, core.config.append_bytes_max));
            core.send(leader, Message::ForwardProposals(ForwardProposals { proposals }));
            proposals = rest;
        }
    }

    pub(super) fn read(&mut self, core: &mut Core, ids: Vec<ReadId>, level: ReadLevel) {
        match self.leader {
            Some(leader) => self.reads.add(core, leader, ids, level),
            None => core.reject_reads(ids, RejectReason::NoLeader),
        }
    }

    pub(super) fn read_index(&mut self, core: &mut Core, from: NodeId, response: &ReadIndexResponse) {
        if self.leader == Some(from) {
            self.reads.answered(core, from, response);
        }
    }

    pub(super) fn heartbeat(&mut self, core: &mut Core, leader: NodeId, heartbeat: &Heartbeat) {
        let remembered = Self::remind(core, &heartbeat.remembered);
        hear_stamp(core, &heartbeat.stamp, heartbeat.commit);
        let last = core.log.last().index;
        if heartbeat.commit <= last {
            // It may be an earlier start that was known to have so much, on a disk that is gone, and the leader's log may be
            // another one than this: an append will tell.
            core.commit_through(heartbeat.commit.min(core.matched));
        } else if core.is_newcomer() {
            // Sent before the leader heard that all was forgotten.
            core.drop_message();
        } else {
            core.effects.push(Effect::EntriesLost { acknowledged: heartbeat.commit, last });
            return;
        }
        let stamp = core.follower_stamp(&heartbeat.stamp);
        core.send(leader, Message::HeartbeatResponse(HeartbeatResponse { remembered, stamp }));
    }

    /// Appends what is new and answers when it is durable (Raft thesis section 3.5).
    pub(super) fn append(&mut self, core: &mut Core, leader: NodeId, request: AppendRequest) {
        let AppendRequest { previous, entries, commit, stamp } = request;
        if !is_continuous(previous, &entries, core.term()) {
            core.drop_message();
            return;
        }
        if let Some(contradiction) = core.committed_otherwise_among(previous, &entries) {
            core.contradict(leader, contradiction, &stamp);
            return;
        }
        hear_stamp(core, &stamp, commit);
        if previous.index < core.log.floor() {
            // What is committed equals the leader's log.
            let matched = core.commit();
            core.accept_append(leader, matched, &stamp);
            return;
        }
        let is_taken_blindly =
            core.config.planted(PlantedBug::AppendWithoutPrevious) && previous.index <= core.log.last().index;
        if !core.log.matches(previous) && !is_taken_blindly {
            let outcome = AppendOutcome::Rejected { previous, candidate: highest_match(core, previous) };
            let stamp = core.follower_stamp(&stamp);
            core.send(leader, Message::AppendResponse(AppendResponse { outcome, stamp }));
            return;
        }
        if let Some(contradiction) = core.time_goes_back(&entries) {
            core.contradict(leader, contradiction, &stamp);
            return;
        }
        let matched = entries.last().map_or(previous.index, |entry| entry.index);
        append_new(core, entries);
        core.commit_through(commit.min(matched));
        core.accept_append(leader, matched, &stamp);
    }

    /// A verified snapshot from the leader.
    pub(super) fn snapshot_received(&mut self, core: &mut Core, leader: NodeId, meta: SnapshotMeta) {
        let index = meta.position.index;
        let stamp = LeaderStamp {
            sent_at: Timestamp(0),
            read_round: 0,
            cluster_time: core.clock.read(core.now),
            answering: None,
            leads_since: Timestamp(0),
            elected_with: LogPosition::default(),
            acknowledged: Index(0),
        };
        if let Some(contradiction) = core.committed_otherwise(meta.position) {
            core.contradict(leader, contradiction, &stamp);
            return;
        }
        if index > core.commit() {
            if core.log.matches(meta.position) {
                core.commit_through(index);
            } else {
                core.install(meta);
            }
        }
        let matched = core.commit();
        core.accept_append(leader, matched.min(index), &stamp);
    }
}

fn hear_stamp(core: &mut Core, stamp: &LeaderStamp, commit: Index) {
    core.clock.hear(core.term(), stamp, core.now);
    let (applied, now) = (core.applied(), core.now);
    let mut as_of = stamp.answering;
    if core.config.planted(PlantedBug::FreshOnArrival) {
        as_of = as_of.map(|_| now);
    }
    core.freshness.hear(as_of, commit, applied, now);
}

/// Whether the entries can be a piece of a leader's log: consecutive, neither term nor time going back.
fn is_continuous(previous: LogPosition, entries: &[Entry], leader_term: Term) -> bool {
    let mut last = previous;
    let mut time = None;
    for entry in entries {
        let follows = last.index.0.checked_add(1) == Some(entry.index.0) && entry.term >= last.term;
        if !follows || time > Some(entry.time) {
            return false;
        }
        last = entry.position();
        time = Some(entry.time);
    }
    last.term <= leader_term
}

/// The highest position at which the leader's log, which holds `previous`, can equal this one.
fn highest_match(core: &Core, previous: LogPosition) -> LogPosition {
    let committed = core.log.term_at(core.commit()).map(|term| LogPosition { term, index: core.commit() });
    let possible = core.log.highest_at_most(previous.index, previous.term);
    possible.max(committed).unwrap_or_default()
}

/// Appends the entries from the first one on that the log does not hold yet; what it holds instead goes.
fn append_new(core: &mut Core, entries: Vec<Entry>) {
    let kept = match core.config.planted(PlantedBug::KeepConflictingEntries) {
        true => core.log.last().index,
        false => Index(0),
    };
    let is_held = |entry: &Entry| core.log.matches(entry.position()) || entry.index <= kept;
    let mut new = entries.into_iter().skip_while(is_held).peekable();
    let Some(first) = new.peek().map(|entry| entry.index) else { return };
    let new: Vec<Entry> = new.collect();
    if first <= core.log.last().index {
        assert!(first > core.commit(), "entry {first} replaced, but {} is committed", core.commit());
        core.log.truncate_after(Index(first.0 - 1));
    }
    core.writes.log_changed_from(first);
    for entry in new {
        core.log.append(entry);
    }
}
