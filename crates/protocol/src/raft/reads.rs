//! How reads are made safe: a round of confirmations at the leader, a batch to the leader at a follower
//! (Raft thesis section 6.4).
//!
//! Where a leader and one follower are a quorum, as among three voters, a follower's question needs no round: it
//! is the confirmation. Say a client asked the follower `F` to read at `t0`; `F` asked at `t1`, in term `T`; the
//! leader `L` of `T`, which has committed an entry of `T`, answers at `t2` with its commit index. Then
//! `t0 <= t1 <= t2`, and every write that was acknowledged before `t0` is within that index:
//!
//! - In term `T`, `L` itself committed it before `t0`, and its commit index never falls.
//! - In an earlier term, it lies before the entries of `T` in the log of `L`, one of which is committed.
//! - In a later term, it was not acknowledged. The leader of that term would have been elected before `t0`, by a
//!   majority, one of whom is `L` or `F`. Whose vote counted has that term durably and never returns to an
//!   earlier one; but `F` was in `T` at `t1` still, and `L` at `t2`.
//!
//! How long the question was on its way does not matter, nor how often it arrives. What matters is
//!
//! - that `F` asks only for reads that it already has: what comes later is the next batch;
//! - that `F` was in no later term than `L`. A question of a later term deposes `L`, as any message does. One of
//!   an earlier term would confirm as well, but `F` could do nothing with the answer, and it is not handled;
//! - that `F` remembers its terms, so a newcomer's question goes the ordinary way, by what it says itself: `L`
//!   may not have heard yet that it forgot. Once it is a member, it is in no earlier term than any that its
//!   forgotten self helped to begin ([`newcomer`](super::newcomer)).
//!
//! Such an answer says nothing about the future, so no lease is counted from it, nor from the question.

use super::core::Core;
use super::planted::PlantedBug;
use crate::io::{Effect, ReadId, ReadLevel, RejectReason};
use crate::message::{Message, ReadIndexRequest, ReadIndexResponse};
use crate::quorum;
use crate::types::{Index, NodeId, Timestamp};

/// How many reads may wait at one replica; more are refused as [`RejectReason::TooBusy`].
pub(crate) const READS_WAITING_MAX: usize = 1 << 16;

/// Reads that wait at a leader.
///
/// One round of confirmations is open at a time. It confirms the reads that waited when it was opened, and
/// only answers to it or to a later round count: a late answer to an older one confirms nothing newer.
#[derive(Debug, Default)]
pub(super) struct LeaderReads {
    /// The newest round.
    round: u64,
    open: Option<OpenRound>,
    waiting: Vec<Reader>,
}

#[derive(Debug)]
struct OpenRound {
    number: u64,
    /// What was committed when it was opened.
    index: Index,
    readers: Vec<Reader>,
}

/// Who is told when reads are safe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Reads of this node.
    Here(Vec<ReadId>),
    /// A batch of reads of a follower.
    Follower {
        /// The follower.
        node: NodeId,
        /// Its number for them.
        batch: u64,
    },
}

impl LeaderReads {
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// A read waits for the next round. Of a follower only the newest batch does: it has forgotten any other.
    pub(super) fn add(&mut self, core: &mut Core, reader: Reader) {
        match reader {
            Reader::Here(ids) if self.waiting_here() + ids.len() > READS_WAITING_MAX => {
                core.reject_reads(ids, RejectReason::TooBusy);
            }
            Reader::Here(_) => self.waiting.push(reader),
            Reader::Follower { .. } => {
                let is_asked_already = self.open.as_ref().is_some_and(|open| open.readers.contains(&reader));
                if !is_asked_already {
                    self.waiting.retain(|other| !other.is_same_follower(&reader));
                    self.waiting.push(reader);
                }
            }
        }
    }

    /// Opens a round for everything that waits, unless one is open.
    #[must_use]
    pub(super) fn open_round(&mut self, commit: Index) -> bool {
        if self.open.is_some() || self.waiting.is_empty() {
            return false;
        }
        self.round += 1;
        let readers = std::mem::take(&mut self.waiting);
        self.open = Some(OpenRound { number: self.round, index: commit, readers });
        true
    }

    /// A quorum has answered `round`, so everything that the open round was for is safe if it is that one.
    pub(super) fn confirm(&mut self, core: &mut Core, round: u64) {
        if let Some(open) = self.open.take_if(|open| open.number <= round) {
            for reader in open.readers {
                reader.serve(core, open.index, None);
            }
        }
    }

    /// Leadership is lost: the reads of this node are given back.
    pub(super) fn leave(self, core: &mut Core) {
        let open = self.open.into_iter().flat_map(|open| open.readers);
        let ids = open
            .chain(self.waiting)
            .flat_map(|reader| match reader {
                Reader::Here(ids) => ids,
                Reader::Follower { .. } => Vec::new(),
            })
            .collect();
        core.reject_reads(ids, RejectReason::LeadershipLost);
    }

    fn waiting_here(&self) -> usize {
        self.waiting
            .iter()
            .map(|reader| match reader {
                Reader::Here(ids) => ids.len(),
                Reader::Follower { .. } => 0,
            })
            .sum()
    }
}

impl Reader {
    /// The reads are safe once `index` is applied.
    pub(super) fn serve(self, core: &mut Core, index: Index, lease_until: Option<Timestamp>) {
        match self {
            Self::Here(ids) => core.effects.push(Effect::ServeRead { ids, index, lease_until }),
            Self::Follower { node, batch } => {
                let response = ReadIndexResponse { batch, index: Some(index) };
                core.send(node, Message::ReadIndexResponse(response));
            }
        }
    }

    fn is_same_follower(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Follower { node, .. }, Self::Follower { node: other, .. }) => node == other,
            (Self::Here(_), _) | (Self::Follower { .. }, Self::Here(_)) => false,
        }
    }
}

/// Whether a follower's question, which is of this leader's term, shows that nobody led in a later term when it was
/// asked.
pub(super) fn is_confirmation(core: &Core, from: NodeId, request: &ReadIndexRequest) -> bool {
    let is_member = !request.is_newcomer || core.config.planted(PlantedBug::NewcomerConfirmsRead);
    let is_quorum = quorum::is_quorum(&core.membership.voters, &[core.config.node, from])
        || core.config.planted(PlantedBug::MinorityConfirmsRead);
    is_member && is_quorum
}

/// Answers a follower that takes this replica for the leader.
pub(super) fn refuse_read_index(core: &mut Core, from: NodeId, request: &ReadIndexRequest) {
    let response = ReadIndexResponse { batch: request.batch, index: None };
    core.send(from, Message::ReadIndexResponse(response));
}

/// Reads that wait at a follower: one batch is asked for at a time, what comes meanwhile is the next one.
#[derive(Debug, Default)]
pub(super) struct FollowerReads {
    asked: Option<AskedBatch>,
    waiting: Vec<ReadId>,
    /// Whether one of those that wait must not rest on the leader's lease.
    is_strong_waiting: bool,
}

#[derive(Debug)]
struct AskedBatch {
    number: u64,
    lease: bool,
    ids: Vec<ReadId>,
    first_asked_at: Timestamp,
    asked_at: Timestamp,
}

impl FollowerReads {
    pub(super) fn add(&mut self, core: &mut Core, leader: NodeId, ids: Vec<ReadId>, level: ReadLevel) {
        if self.waiting.len() + ids.len() > READS_WAITING_MAX {
            core.reject_reads(ids, RejectReason::TooBusy);
            return;
        }
        if core.config.planted(PlantedBug::ReadJoinsAskedBatch)
            && let Some(asked) = &mut self.asked
        {
            asked.ids.extend(ids);
            return;
        }
        self.waiting.extend(ids);
        self.is_strong_waiting |= level == ReadLevel::Strong;
        self.ask_next(core, leader);
    }

    /// When a lost question is asked again.
    pub(super) fn deadline(&self, retry_us: u64) -> Option<Timestamp> {
        self.asked.as_ref().map(|asked| asked.asked_at.after_micros(retry_us))
    }

    /// Asks again what was not answered, and gives it up after an election timeout.
    pub(super) fn wake(&mut self, core: &mut Core, leader: NodeId) {
        if self.deadline(core.config.heartbeat_interval_us).is_none_or(|deadline| deadline > core.now) {
            return;
        }
        let Some(mut asked) = self.asked.take() else { return };
        if core.now.micros_since(asked.first_asked_at) >= core.config.election_timeout_us {
            core.reject_reads(asked.ids, RejectReason::NoLeader);
            self.ask_next(core, leader);
        } else {
            asked.asked_at = core.now;
            asked.ask(core, leader);
            self.asked = Some(asked);
        }
    }

    pub(super) fn answered(&mut self, core: &mut Core, leader: NodeId, response: &ReadIndexResponse) {
        let Some(asked) = self.asked.take_if(|asked| asked.number == response.batch) else { return };
        match response.index {
            Some(index) => {
                core.effects.push(Effect::ServeRead { ids: asked.ids, index, lease_until: None });
            }
            None => core.reject_reads(asked.ids, RejectReason::NoLeader),
        }
        self.ask_next(core, leader);
    }

    pub(super) fn into_ids(self) -> Vec<ReadId> {
        let mut ids = self.asked.map(|asked| asked.ids).unwrap_or_default();
        ids.extend(self.waiting);
        ids
    }

    fn ask_next(&mut self, core: &mut Core, leader: NodeId) {
        if self.asked.is_some() || self.waiting.is_empty() {
            return;
        }
        let asked = AskedBatch {
            number: core.next_read_batch(),
            lease: !std::mem::take(&mut self.is_strong_waiting),
            ids: std::mem::take(&mut self.waiting),
            first_asked_at: core.now,
            asked_at: core.now,
        };
        asked.ask(core, leader);
        self.asked = Some(asked);
    }
}

impl AskedBatch {
    fn ask(&self, core: &mut Core, leader: NodeId) {
        let request = ReadIndexRequest {
            batch: self.number,
            lease: self.lease,
            is_newcomer: core.writes.is_newcomer_durably(),
        };
        core.send(leader, Message::ReadIndexRequest(request));
    }
}
