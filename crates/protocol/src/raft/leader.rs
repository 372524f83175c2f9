//! What a leader does: counts acknowledgements, keeps its lease, gives reads their index.

use std::collections::BTreeMap;

use super::clock::ClusterClock;
use super::core::Core;
use super::gathered::Gathered;
use super::planted::PlantedBug;
use super::reads::{self, LeaderReads, Reader};
use super::status::FollowerStatus;
use crate::io::{ReadId, ReadLevel, RejectReason};
use crate::message::{AppendOutcome, AppendResponse, FollowerStamp, HeartbeatResponse, ReadIndexRequest};
use crate::progress::Progress;
use crate::quorum;
use crate::types::{ClusterTime, Entry, Incarnation, Index, LogPosition, NodeId, Payload, Reign, Timestamp};

/// A leader's own data.
///
/// Invariants:
/// - `opened_at` is the index of the no-op of its own term, which opens it; the log from there on is of its own making
///   and only grows;
/// - `heartbeat_due` is no later than an interval after it last made itself heard by everyone, and at a
///   [beat](Core::next_beat) if it did so because that was due.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) followers: BTreeMap<NodeId, Progress>,
    pub(super) reads: LeaderReads,
    /// Since when it leads.
    pub(super) elected_at: Timestamp,
    /// Where its log ended then.
    pub(super) elected_with: LogPosition,
    /// The index of the no-op that opened the term.
    opened_at: Index,
    pub(super) heartbeat_due: Timestamp,
    /// When it tells again what it remembers of others.
    pub(super) remind_due: Timestamp,
    /// Followers may not know yet what is committed; they are told when nothing else is left to do.
    pub(super) is_commit_news: bool,
    /// What is uncommitted in the log.
    pub(super) uncommitted_bytes: usize,
    pub(super) gathered: Gathered,
    /// Since when the others commit without this node's disk having moved.
    own_disk_behind_since: Option<Timestamp>,
    excuse: Option<Excuse>,
}

/// A leader that was woken much too late did not run, and can't have been heard: it gets a little time to be.
#[derive(Debug)]
struct Excuse {
    /// The deadline that was missed; it is excused once.
    missed: Timestamp,
    until: Timestamp,
}

impl Leader {
    /// Begins to lead: a no-op opens the term, so that what older terms left can be committed (Raft thesis
    /// section 3.6.2).
    pub(super) fn open_term(core: &mut Core) -> Self {
        let elected_with = core.log.last();
        let last = elected_with.index;
        core.reign = Some(Reign { leader: core.config.node, since: core.now });
        core.is_leader_compared = true;
        let uncommitted_bytes = core.log.entries(core.commit().next(), last).map(Entry::weight).sum();
        let mut leader = Self {
            followers: core.peers().into_iter().map(|peer| (peer, Progress::new(last))).collect(),
            reads: LeaderReads::default(),
            elected_at: core.now,
            elected_with,
            opened_at: last.next(),
            remind_due: core.now,
            heartbeat_due: core.now.after_micros(core.config.heartbeat_interval_us),
            is_commit_news: false,
            uncommitted_bytes,
            gathered: Gathered::default(),
            own_disk_behind_since: None,
            excuse: None,
        };
        let last_time = core.log.last_time();
        if core.config.planted(PlantedBug::ClusterTimeFromOwnClock) {
            core.clock = ClusterClock::new(ClusterTime(core.now.0 / 1000), core.now);
        }
        core.clock.lead(last_time, core.now);
        if core.config.planted(PlantedBug::CommitOlderTermByCounting) {
            leader.opened_at = last;
        } else {
            leader.append(core, Payload::Noop);
        }
        leader.replicate_to_all(core);
        leader
    }

    /// Whether an entry of its own term is committed: only then it knows all that is committed.
    pub(super) fn is_established(&self, core: &Core) -> bool {
        core.commit() >= self.opened_at
    }

    /// A write of this node completed: its own log counts as far as it is durable.
    pub(super) fn own_log_durable(&mut self, core: &mut Core) {
        self.own_disk_behind_since = None;
        self.advance_commit(core);
        self.note_freshness(core);
    }

    pub(super) fn append_answered(&mut self, core: &mut Core, from: NodeId, response: &AppendResponse) {
        if !self.hear(core, from, &response.stamp) {
            return;
        }
        let Some(progress) = self.followers.get_mut(&from) else { return };
        match response.outcome {
            AppendOutcome::Accepted { matched } if matched > core.log.last().index => {
                core.drop_message();
                return;
            }
            AppendOutcome::Accepted { matched } => {
                progress.accepted(matched, core.log.floor(), core.now);
                if progress.is_replicating() && progress.told_commit < core.commit() {
                    self.is_commit_news = true;
                }
                self.advance_commit(core);
            }
            AppendOutcome::Rejected { previous, candidate } => {
                progress.rejected(previous, candidate, &core.log);
            }
        }
        self.replicate(core, from);
        self.confirm_reads(core);
    }

    pub(super) fn heartbeat_answered(&mut self, core: &mut Core, from: NodeId, response: &HeartbeatResponse) {
        if !self.hear(core, from, &response.stamp) {
            return;
        }
        let Some(progress) = self.followers.get_mut(&from) else { return };
        if progress.seems_lost(response.stamp.echo, core.config.heartbeat_interval_us) {
            progress.probe_again();
        }
        core.hear_remembered(&response.remembered);
        self.replicate(core, from);
        self.confirm_reads(core);
    }

    /// A follower remembers nothing of its earlier starts. Returns the latest of its starts that was heard.
    pub(super) fn introduced(
        &mut self,
        core: &mut Core,
        from: NodeId,
        incarnation: Incarnation,
    ) -> Option<Incarnation> {
        let progress = self.followers.get_mut(&from)?;
        if progress.meet(incarnation, true, core.log.last().index) {
            core.contradicted_by.remove(&from);
        }
        Some(progress.incarnation())
    }

    /// Notes a sign of life; returns whether it can be one.
    fn hear(&mut self, core: &mut Core, from: NodeId, stamp: &FollowerStamp) -> bool {
        let is_possible = stamp.echo <= core.now && stamp.read_round <= self.reads.round();
        let Some(progress) = self.followers.get_mut(&from).filter(|_| is_possible) else {
            core.drop_message();
            return false;
        };
        if !progress.meet(stamp.incarnation, stamp.is_newcomer, core.log.last().index) {
            return false;
        }
        progress.is_contradicting = !Self::agrees(core, from, stamp);
        if progress.is_contradicting {
            return false;
        }
        let mut stamp = *stamp;
        if core.config.planted(PlantedBug::OldAnswerConfirmsRead) {
            stamp.read_round = self.reads.round();
        }
        if core.config.planted(PlantedBug::LeaseFromAnswer) {
            stamp.echo = core.now;
        }
        progress.heard(&stamp, promised_us(core, &stamp), core.now);
        self.note_freshness(core);
        true
    }

    /// Commits what a quorum holds durably, if that reaches into this term (Raft thesis section 3.6.2).
    fn advance_commit(&mut self, core: &mut Core) {
        let own_index = match core.config.planted(PlantedBug::LeaderCountsBeforeDurable) {
            true => core.log.last().index,
            false => core.writes.durable_index(),
        };
        let own = core.is_voter().then_some(own_index);
        let matched = self.followers.values().map(|progress| progress.counted(progress.matched)).chain(own);
        let reached = quorum::reached_by_quorum(matched);
        let is_own_term = core.log.term_at(reached) == Some(core.term());
        if reached <= core.commit()
            || !(is_own_term || core.config.planted(PlantedBug::CommitOlderTermByCounting))
        {
            return;
        }
        let bytes: usize = core.log.entries(core.commit().next(), reached).map(Entry::weight).sum();
        assert!(
            self.uncommitted_bytes >= bytes,
            "{bytes} bytes committed through {reached} of {} uncommitted",
            self.uncommitted_bytes
        );
        self.uncommitted_bytes -= bytes;
        core.commit_through(reached);
        self.is_commit_news = true;
        if reached > core.writes.durable_index() {
            self.own_disk_behind_since.get_or_insert(core.now);
        }
        self.open_round(core);
    }

    /// Reads of this node.
    pub(super) fn read(&mut self, core: &mut Core, ids: Vec<ReadId>, level: ReadLevel) {
        if !ids.is_empty() {
            self.take_read(core, Reader::Here(ids), level == ReadLevel::Lease);
        }
    }

    /// Reads of a follower. That it asks may be all the confirmation there need be; it renews no lease.
    pub(super) fn read_for_follower(&mut self, core: &mut Core, from: NodeId, request: &ReadIndexRequest) {
        let reader = Reader::Follower { node: from, batch: request.batch };
        if self.may_give_index(core) && reads::is_confirmation(core, from, request) {
            reader.serve(core, core.commit(), None);
        } else {
            self.take_read(core, reader, request.lease);
        }
    }

    fn take_read(&mut self, core: &mut Core, reader: Reader, may_use_lease: bool) {
        let lease = self.lease_until(core, core.now).filter(|_| may_use_lease && self.is_established(core));
        if let Some(lease_until) = lease {
            reader.serve(core, core.commit(), Some(lease_until));
        } else {
            self.reads.add(core, reader);
            self.open_round(core);
        }
    }

    /// Whether the commit index will do for reads: before the term's no-op is committed this leader may not
    /// know of everything that is committed (Raft thesis section 6.4, step 1).
    fn may_give_index(&self, core: &Core) -> bool {
        self.is_established(core) || core.config.planted(PlantedBug::ReadIndexBeforeNoop)
    }

    /// Opens a round of confirmations for the reads that wait.
    fn open_round(&mut self, core: &mut Core) {
        if self.may_give_index(core) && self.reads.open_round(core.commit()) {
            if core.is_alone() {
                self.reads.confirm(core, self.reads.round());
            } else {
                self.heartbeat(core);
            }
        }
    }

    fn confirm_reads(&mut self, core: &mut Core) {
        let own = core.is_voter().then(|| self.reads.round());
        let rounds =
            self.followers.values().map(|progress| progress.counted(progress.answered_round)).chain(own);
        let confirmed = quorum::reached_by_quorum(rounds);
        self.reads.confirm(core, confirmed);
        self.open_round(core);
    }

    /// The end of the lease, if it is after `now`. No other leader can be elected before: a quorum promised to vote for
    /// nobody else until then (Raft thesis section 6.4.1, where all promise alike). This replica itself votes for
    /// nobody while it leads, which it looks at again within an election timeout.
    pub(super) fn lease_until(&self, core: &Core, now: Timestamp) -> Option<Timestamp> {
        let own = core.is_voter().then_some(Some(now.after_micros(core.config.election_timeout_us)));
        let promised =
            self.followers.values().map(|progress| progress.counted(progress.promised_until)).chain(own);
        let mut until = quorum::reached_by_quorum(promised)?;
        if core.config.planted(PlantedBug::LeaseWithoutEnd) {
            until = Timestamp(u64::MAX);
        }
        (until > now).then_some(until)
    }

    /// The latest moment at which this replica surely was the only leader: a quorum answered what it sent then.
    fn surely_led_at(&self, core: &Core, now: Timestamp) -> Option<Timestamp> {
        let own = core.is_voter().then_some(Some(now));
        let answered =
            self.followers.values().map(|progress| progress.counted(progress.answered_sent_at)).chain(own);
        quorum::reached_by_quorum(answered)
    }

    /// Notes that what is committed now is all there was when this replica last surely led.
    fn note_freshness(&self, core: &mut Core) {
        if self.is_established(core) {
            let (as_of, applied) = (self.surely_led_at(core, core.now), core.applied());
            core.freshness.hear(as_of, core.commit(), applied, core.now);
        }
    }

    /// When leadership ends unless a quorum is heard.
    fn quorum_deadline(&self, core: &Core) -> Timestamp {
        let deadline = self.unexcused_deadline(core);
        self.excuse
            .as_ref()
            .filter(|excuse| excuse.missed == deadline)
            .map_or(deadline, |excuse| excuse.until)
    }

    fn unexcused_deadline(&self, core: &Core) -> Timestamp {
        let own = core.is_voter().then_some(Timestamp(u64::MAX));
        let heard_at = |progress: &Progress| progress.counted(progress.heard_at.unwrap_or(self.elected_at));
        let heard = self.followers.values().map(heard_at);
        quorum::reached_by_quorum(heard.chain(own)).after_micros(core.config.election_timeout_us)
    }

    /// Puts the quorum's deadline off, once, if it passed while this process did not run.
    pub(super) fn excuse_oversleeping(&mut self, core: &Core) {
        let missed = self.unexcused_deadline(core);
        let interval_us = core.config.heartbeat_interval_us;
        let overslept = core.now.micros_since(self.heartbeat_due) > interval_us;
        let is_excused = self.excuse.as_ref().is_some_and(|excuse| excuse.missed == missed);
        if missed <= core.now && overslept && !is_excused {
            self.excuse = Some(Excuse { missed, until: core.now.after_micros(2 * interval_us) });
        }
    }

    /// When leadership ends unless this node's disk catches up with what the others committed without it.
    fn disk_deadline(&self, core: &Core) -> Option<Timestamp> {
        self.own_disk_behind_since.map(|since| since.after_micros(core.config.election_timeout_us))
    }

    /// Whether no quorum was heard for an election timeout (Raft thesis section 6.2), or this node's disk has
    /// stood still for as long while the others' go on: one of them had better lead.
    pub(super) fn must_step_down(&self, core: &Core) -> bool {
        self.quorum_deadline(core) <= core.now
            || self.disk_deadline(core).is_some_and(|deadline| deadline <= core.now)
    }

    /// When it must be woken.
    pub(super) fn deadline(&self, core: &Core) -> Timestamp {
        let news = self.is_commit_news.then_some(core.now);
        let due = self.heartbeat_due.min(self.quorum_deadline(core));
        let proposals = self.gathered.deadline(core);
        [news, proposals, self.disk_deadline(core)].into_iter().flatten().fold(due, Timestamp::min)
    }

    /// Stops leading: reads that wait are given back, and proposals that were not appended yet. What was appended stays,
    /// and is seen in the log.
    pub(super) fn leave(self, core: &mut Core) {
        self.reads.leave(core);
        let proposals = self.gathered.into_own(core.config.node);
        core.reject_proposals(&proposals, RejectReason::LeadershipLost);
    }

    pub(super) fn follower_statuses(&self) -> Vec<FollowerStatus> {
        let status = |(node, progress): (&NodeId, &Progress)| FollowerStatus {
            node: *node,
            matched: progress.matched,
            commit: progress.committed,
            unmatched_since: progress.unmatched_since,
            state: progress.state_name(),
            heard_at: progress.heard_at,
            is_newcomer: progress.is_newcomer,
        };
        self.followers.iter().map(status).collect()
    }
}

/// How long a follower's promise lasts on this node's clock at least, in microseconds.
fn promised_us(core: &Core, stamp: &FollowerStamp) -> u64 {
    let promised_us = match core.config.planted(PlantedBug::LeaseFromOwnTimeout) {
        true => core.config.election_timeout_us,
        false => stamp.promised_us,
    };
    let drift_us = match core.config.planted(PlantedBug::LeaseWithoutDrift) {
        true => 0,
        false => promised_us.saturating_mul(core.config.clock_drift_ppm).div_ceil(1_000_000),
    };
    promised_us.saturating_sub(drift_us)
}
