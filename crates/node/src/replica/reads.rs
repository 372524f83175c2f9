//! Reads, from their arrival to the moment they may be made.

use std::collections::{BTreeMap, BTreeSet};

use ruvector_protocol::{Index, Input, Message, ReadId, Timestamp};
use ruvector_state_machine::StateMachine;

use super::{Output, ReadGrant, Replica, ReplicaError, Ticket};
use crate::outcome::{NodeError, ReadLevel};

/// The reads that wait.
///
/// Invariants:
/// - no more wait than `count_max`, and who came later has no earlier deadline; `next` is above all;
/// - `granted` has those that were made safe, each under the index that it waits for, which is not applied yet;
/// - while any are refused, there is a time to ask again. A refused one may have been forgotten meanwhile.
#[derive(Debug)]
pub(super) struct PendingReads {
    next: u64,
    /// All of them.
    waiting: BTreeMap<ReadId, Waiting>,
    /// Those that the core refused and that are asked again at `retry_at` or when a leader is known.
    refused: Vec<ReadId>,
    retry_at: Option<Timestamp>,
    /// Those that were made safe, by the index that must be applied first.
    granted: BTreeSet<(Index, ReadId)>,
    timeout_us: u64,
    retry_us: u64,
    count_max: usize,
    activity: ReadActivity,
}

/// How much reading this replica has had a part in.
#[derive(Clone, Copy, Debug, Default)]
struct ReadActivity {
    /// Reads of this node's clients, batches of followers, and rounds of leaders.
    count: u64,
    /// Of the leader heard last.
    newest_round: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    level: ruvector_protocol::ReadLevel,
    deadline: Timestamp,
    /// Once it was made safe: what must be applied first, and how it may then be made.
    granted: Option<(Index, ReadGrant)>,
}

impl PendingReads {
    pub(super) fn new(timeout_us: u64, retry_us: u64, count_max: usize) -> Self {
        Self {
            next: 1,
            waiting: BTreeMap::new(),
            refused: Vec::new(),
            retry_at: None,
            granted: BTreeSet::new(),
            timeout_us,
            retry_us,
            count_max,
            activity: ReadActivity::default(),
        }
    }

    /// Notices what a message has to do with reads.
    pub(super) fn notice(&mut self, message: &Message) {
        match message {
            Message::ReadIndexRequest(_) => self.activity.count += 1,
            Message::AppendRequest(request) => self.activity.hear_round(request.stamp.read_round),
            Message::Heartbeat(heartbeat) => self.activity.hear_round(heartbeat.stamp.read_round),
            Message::PreVoteRequest(_)
            | Message::PreVoteResponse(_)
            | Message::VoteRequest(_)
            | Message::VoteResponse(_)
            | Message::AppendResponse(_)
            | Message::HeartbeatResponse(_)
            | Message::ForwardProposals(_)
            | Message::ReadIndexResponse(_)
            | Message::IntroductionRequest(_)
            | Message::IntroductionResponse(_)
            | Message::SnapshotChunk(_)
            | Message::SnapshotChunkResponse(_)
            | Message::StateHash(_) => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        // All wait equally long, so the first is due first.
        let expiry = self.waiting.first_key_value().map(|(_, waiting)| waiting.deadline);
        expiry.into_iter().chain(self.retry_at).min()
    }

    fn add(&mut self, now: Timestamp, ticket: Ticket, level: ruvector_protocol::ReadLevel) -> Option<ReadId> {
        if self.waiting.len() >= self.count_max {
            return None;
        }
        let id = ReadId(self.next);
        self.next += 1;
        self.activity.count += 1;
        let deadline = now.after_micros(self.timeout_us);
        let before = self.waiting.insert(id, Waiting { ticket, level, deadline, granted: None });
        assert!(before.is_none(), "read {} was given twice: {before:?}", id.0);
        Some(id)
    }

    /// A read waits no more.
    fn forget(&mut self, id: ReadId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        if let Some((index, _)) = waiting.granted {
            let was_granted = self.granted.remove(&(index, id));
            assert!(was_granted, "read {} waits for index {index} and is not among those that do", id.0);
        }
        Some(waiting)
    }

    /// Sees that what is said of the type holds. Costs as much as there are reads that wait.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(super) fn check_invariants(&self, applied: Index) {
        let (count, count_max) = (self.waiting.len(), self.count_max);
        assert!(count <= count_max, "{count} reads wait, of {count_max} at most");
        let last = self.waiting.last_key_value().map(|(id, _)| id.0);
        assert!(
            last.is_none_or(|last| last < self.next),
            "read {last:?} waits, and {} comes next",
            self.next
        );
        assert!(
            self.waiting.values().is_sorted_by_key(|waiting| waiting.deadline),
            "who came later ends earlier"
        );
        let granted = self.waiting.iter().filter_map(|(id, waiting)| Some((waiting.granted?.0, *id)));
        assert_eq!(self.granted, granted.collect(), "reads that were made safe");
        let first = self.granted.first();
        assert!(first.is_none_or(|(index, _)| *index > applied), "{first:?} waits, and {applied} is applied");
        let refused = self.refused.len();
        assert!(refused == 0 || self.retry_at.is_some(), "{refused} are refused, and nobody asks again");
    }

    /// Those that were refused and still wait, by level, to be asked again.
    fn take_refused(&mut self) -> Vec<Input> {
        self.retry_at = None;
        let refused = std::mem::take(&mut self.refused);
        [ruvector_protocol::ReadLevel::Strong, ruvector_protocol::ReadLevel::Lease]
            .into_iter()
            .filter_map(|level| {
                let ids: Vec<_> = refused
                    .iter()
                    .copied()
                    .filter(|id| self.waiting.get(id).is_some_and(|waiting| waiting.level == level))
                    .collect();
                (!ids.is_empty()).then_some(Input::Read { ids, level })
            })
            .collect()
    }
}

impl ReadActivity {
    fn hear_round(&mut self, round: u64) {
        self.count += u64::from(round != self.newest_round);
        self.newest_round = round;
    }
}

impl<M: StateMachine> Replica<M> {
    /// How often this replica has had a part in making a read linearizable: one of this node's clients, of a follower, or
    /// a round of its leader. While it rises, somebody waits for more than writes.
    #[must_use]
    pub fn reads_begun(&self) -> u64 {
        self.reads.activity.count
    }

    pub(super) fn read(
        &mut self,
        now: Timestamp,
        reads: Vec<(Ticket, ReadLevel)>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let mut strong = Vec::new();
        let mut lease = Vec::new();
        for (ticket, level) in reads {
            let (level, ids) = match level {
                ReadLevel::Strong => (ruvector_protocol::ReadLevel::Strong, &mut strong),
                ReadLevel::Lease => (ruvector_protocol::ReadLevel::Lease, &mut lease),
                ReadLevel::Stale { max_staleness_ms } => {
                    let result = self.grant_stale(now, max_staleness_ms);
                    outputs.push(Output::ReadReady { ticket, result });
                    continue;
                }
            };
            match self.reads.add(now, ticket, level) {
                Some(id) => ids.push(id),
                None => outputs.push(Output::ReadReady { ticket, result: Err(NodeError::TooBusy) }),
            }
        }
        for (ids, level) in
            [(strong, ruvector_protocol::ReadLevel::Strong), (lease, ruvector_protocol::ReadLevel::Lease)]
        {
            if !ids.is_empty() {
                self.step(now, Input::Read { ids, level }, outputs)?;
            }
        }
        Ok(())
    }

    fn grant_stale(&self, now: Timestamp, max_staleness_ms: Option<u64>) -> Result<ReadGrant, NodeError> {
        let staleness_us = self.raft.staleness_us(now);
        match (max_staleness_ms, staleness_us) {
            (Some(max_ms), Some(staleness)) if staleness <= max_ms.saturating_mul(1000) => {}
            (None, _) => {}
            (Some(_), staleness) => {
                return Err(NodeError::TooStale { staleness_ms: staleness.map(|us| us.div_ceil(1000)) });
            }
        }
        Ok(ReadGrant { lease_until: None, staleness_us })
    }

    /// The core made reads safe: they may be made once `index` is applied.
    pub(super) fn reads_safe(
        &mut self,
        ids: Vec<ReadId>,
        index: Index,
        lease_until: Option<Timestamp>,
        outputs: &mut Vec<Output<M>>,
    ) {
        let grant = ReadGrant { lease_until, staleness_us: Some(0) };
        for id in ids {
            // A read whose time is over is forgotten by now.
            let Some(waiting) = self.reads.waiting.get_mut(&id) else { continue };
            if index <= self.applied.index {
                let ticket = waiting.ticket;
                self.reads.forget(id);
                outputs.push(Output::ReadReady { ticket, result: Ok(grant) });
            } else if waiting.granted.is_none() {
                waiting.granted = Some((index, grant));
                self.reads.granted.insert((index, id));
            }
        }
    }

    pub(super) fn reads_refused(&mut self, now: Timestamp, ids: Vec<ReadId>) {
        self.reads.refused.extend(ids);
        self.reads.retry_at.get_or_insert(now.after_micros(self.reads.retry_us));
    }

    /// Lets go the reads that waited for what has been applied by now.
    pub(super) fn release_reads(&mut self, outputs: &mut Vec<Output<M>>) {
        while let Some(&(index, id)) = self.reads.granted.first()
            && index <= self.applied.index
        {
            let waiting = self.reads.forget(id).expect("a granted read waits");
            let (_, grant) = waiting.granted.expect("it was granted");
            outputs.push(Output::ReadReady { ticket: waiting.ticket, result: Ok(grant) });
        }
    }

    /// What is to be asked again because a leader is known.
    pub(super) fn reads_for_new_leader(&mut self) -> Vec<Input> {
        self.reads.take_refused()
    }

    pub(super) fn wake_reads(
        &mut self,
        now: Timestamp,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        while let Some((&id, waiting)) = self.reads.waiting.first_key_value()
            && waiting.deadline <= now
        {
            let ticket = waiting.ticket;
            self.reads.forget(id);
            outputs.push(Output::ReadReady { ticket, result: Err(NodeError::NoLeader) });
        }
        if self.reads.retry_at.is_some_and(|at| at <= now) {
            for input in self.reads.take_refused() {
                self.step(now, input, outputs)?;
            }
        }
        Ok(())
    }
}
