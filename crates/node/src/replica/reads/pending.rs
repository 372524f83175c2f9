//! The reads that wait, and how many there have been.

use std::collections::{BTreeMap, BTreeSet};

use ruvector_protocol::{Index, Input, Message, ReadId, Timestamp};

use crate::replica::event::{ReadGrant, Ticket};

/// The reads that wait.
///
/// Invariants:
/// - no more wait than `count_max`, and who came later has no earlier deadline; `next` is above all;
/// - `granted` has those that were made safe, each under the index that it waits for, which is not applied yet;
/// - while any are refused, there is a time to ask again. A refused one may have been forgotten meanwhile.
#[derive(Debug)]
pub(in crate::replica) struct PendingReads {
    next: u64,
    /// All of them.
    pub(super) waiting: BTreeMap<ReadId, Waiting>,
    /// Those that the core refused and that are asked again at `retry_at` or when a leader is known.
    pub(super) refused: Vec<ReadId>,
    pub(super) retry_at: Option<Timestamp>,
    /// Those that were made safe, by the index that must be applied first.
    pub(super) granted: BTreeSet<(Index, ReadId)>,
    timeout_us: u64,
    pub(super) retry_us: u64,
    count_max: usize,
    pub(super) activity: ReadActivity,
}

/// How much reading this replica has had a part in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadActivity {
    /// Reads of this node's clients, batches of followers, and rounds of leaders.
    pub(super) count: u64,
    /// Of the leader heard last.
    newest_round: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    level: ruvector_protocol::ReadLevel,
    pub(super) deadline: Timestamp,
    /// Once it was made safe: what must be applied first, and how it may then be made.
    pub(super) granted: Option<(Index, ReadGrant)>,
}

impl PendingReads {
    pub(in crate::replica) fn new(timeout_us: u64, retry_us: u64, count_max: usize) -> Self {
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
    pub(in crate::replica) fn notice(&mut self, message: &Message) {
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
            | Message::IntroductionResponse(_) => {}
        }
    }

    pub(in crate::replica) fn deadline(&self) -> Option<Timestamp> {
        // All wait equally long, so the first is due first.
        let expiry = self.waiting.first_key_value().map(|(_, waiting)| waiting.deadline);
        expiry.into_iter().chain(self.retry_at).min()
    }

    pub(super) fn add(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        level: ruvector_protocol::ReadLevel,
    ) -> Option<ReadId> {
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
    pub(super) fn forget(&mut self, id: ReadId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        if let Some((index, _)) = waiting.granted {
            let was_granted = self.granted.remove(&(index, id));
            assert!(was_granted, "read {} waits for index {index} and is not among those that do", id.0);
        }
        Some(waiting)
    }

    /// Sees that what is said of the type holds. Costs as much as there are reads that wait.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(in crate::replica) fn check_invariants(&self, applied: Index) {
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
    pub(super) fn take_refused(&mut self) -> Vec<Input> {
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
