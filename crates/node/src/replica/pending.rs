//! The commands of this node's clients that wait for their answer: which of them are on their way to a leader, and which
//! are yet to be proposed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ruvector_protocol::{ENTRY_OVERHEAD_BYTES, Incarnation, NodeId, Origin, Proposal, Timestamp};

use super::event::Ticket;
use crate::outcome::NodeError;

/// The commands that wait, by sequence.
///
/// Invariants:
/// - every sequence below the first waiting one is settled and never proposed again; `next_sequence` is above all;
/// - all of `due` wait; whatever waits and is not due is under way;
/// - `bytes` is what entries of all that wait weigh, `under_way_bytes` what those weigh that are under way;
/// - no more wait than the limits say, in number and in bytes, but for one alone;
/// - who came later has no earlier deadline;
/// - while any wait, there is a time to look for those that nothing was heard of.
#[derive(Debug)]
pub(super) struct PendingProposals {
    node: NodeId,
    incarnation: Incarnation,
    next_sequence: u64,
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    /// Those that are to be proposed, or proposed again, as soon as somebody takes them.
    due: BTreeSet<u64>,
    under_way_bytes: usize,
    /// When to propose a slice of those that are due.
    due_at: Option<Timestamp>,
    /// When to look for those that nothing was heard of for long.
    retry_at: Option<Timestamp>,
    limits: Limits,
}

/// What bounds the waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many may wait.
    pub(super) count_max: usize,
    /// How many bytes entries of them may weigh together, if it is not one alone.
    pub(super) bytes_max: usize,
    /// How long one may wait, in microseconds.
    pub(super) timeout_us: u64,
    /// After how long without an answer it is proposed again, in microseconds.
    pub(super) retry_us: u64,
    /// How long to wait until the next are forwarded, or until a leader that was full is tried again, in microseconds.
    pub(super) pause_us: u64,
    /// How many bytes may be on their way to another node that leads.
    pub(super) forwarded_bytes_max: usize,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    command: Bytes,
    deadline: Timestamp,
    proposed_at: Timestamp,
    /// How often it was proposed and not refused: unless 0 it may be in somebody's log, and only the log
    /// can tell what became of it.
    accepted_proposals: u32,
    /// It was due once, and not proposed as soon as it came.
    has_waited: bool,
}

/// Who takes proposals at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taker {
    /// This node itself, which says at once what it has no room for.
    Here,
    /// Another node, which says nothing.
    Peer,
    /// Nobody that is known.
    Nobody,
}

/// What an entry of a command weighs, as its leader counts.
fn weight(command: &Bytes) -> usize {
    ENTRY_OVERHEAD_BYTES + command.len()
}

/// How many commands are proposed again in one turn at most: the oldest first.
const SLICE_COUNT_MAX: usize = 1024;
/// How many bytes of commands a leader takes from its own clients in one turn when it proposes them again.
const SLICE_BYTES_MAX: usize = 8 << 20;

impl PendingProposals {
    pub(super) fn new(node: NodeId, incarnation: Incarnation, limits: Limits) -> Self {
        Self {
            node,
            incarnation,
            next_sequence: 1,
            waiting: BTreeMap::new(),
            bytes: 0,
            due: BTreeSet::new(),
            under_way_bytes: 0,
            due_at: None,
            retry_at: None,
            limits,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        // All wait equally long, so the first is due first.
        let expiry = self.waiting.first_key_value().map(|(_, waiting)| waiting.deadline);
        let others = self.retry_at.into_iter().chain(self.due_at).filter(|_| !self.waiting.is_empty());
        expiry.into_iter().chain(others).min()
    }

    /// Takes a new command, if there is room, or gives it back. Returns the proposal if it is to be made at once: not behind
    /// others that are due, nor if too much is on its way to another node.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        command: Bytes,
        taker: Taker,
    ) -> Result<Option<Proposal>, Ticket> {
        let bytes = weight(&command);
        if !self.has_room(bytes) {
            return Err(ticket);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let must_wait = !self.due.is_empty() || taker == Taker::Peer && !self.fits_on_the_way(bytes);
        let deadline = now.after_micros(self.limits.timeout_us);
        let accepted_proposals = u32::from(!must_wait);
        self.bytes += bytes;
        let before = self.waiting.insert(
            sequence,
            Waiting {
                ticket,
                command: command.clone(),
                deadline,
                proposed_at: now,
                accepted_proposals,
                has_waited: must_wait,
            },
        );
        assert!(before.is_none(), "sequence {sequence} was given twice: {before:?}");
        self.retry_at.get_or_insert(now.after_micros(self.limits.retry_us));
        if must_wait {
            self.due.insert(sequence);
            self.due_at.get_or_insert(now.after_micros(self.limits.pause_us));
            return Ok(None);
        }
        self.under_way_bytes += bytes;
        Ok(Some(Proposal { origin: self.origin(sequence), command }))
    }

    /// Whether one more may wait. One alone always may.
    fn has_room(&self, bytes: usize) -> bool {
        let Limits { count_max, bytes_max, .. } = self.limits;
        self.waiting.is_empty() || self.waiting.len() < count_max && self.bytes + bytes <= bytes_max
    }

    /// One command always does.
    fn fits_on_the_way(&self, bytes: usize) -> bool {
        self.under_way_bytes == 0 || self.under_way_bytes + bytes <= self.limits.forwarded_bytes_max
    }

    /// Another leader: whatever waits is to be proposed again, beginning at once.
    pub(super) fn leader_changed(&mut self, now: Timestamp) {
        self.due = self.waiting.keys().copied().collect();
        self.under_way_bytes = 0;
        self.due_at = self.has_due().then_some(now);
        self.retry_at = self.has_due().then(|| now.after_micros(self.limits.retry_us));
    }

    /// The next commands to propose, the oldest of those that are due, as many as one turn and the taker take.
    pub(super) fn slice(&mut self, now: Timestamp, taker: Taker) -> Vec<Proposal> {
        let mut sequences = Vec::new();
        let mut bytes = 0;
        while sequences.len() < SLICE_COUNT_MAX
            && let Some(&sequence) = self.due.first()
        {
            let size = weight(&self.waiting[&sequence].command);
            let has_room = match taker {
                Taker::Here => bytes == 0 || bytes + size <= SLICE_BYTES_MAX,
                Taker::Peer => self.fits_on_the_way(size),
                Taker::Nobody => false,
            };
            if !has_room {
                break;
            }
            let waiting = self.waiting.get_mut(&sequence).expect("what is due waits");
            waiting.proposed_at = now;
            waiting.has_waited = true;
            waiting.accepted_proposals += 1;
            self.due.pop_first();
            self.under_way_bytes += size;
            bytes += size;
            sequences.push((sequence, waiting.command.clone()));
        }
        self.due_at = match taker {
            _ if self.due.is_empty() => None,
            Taker::Here => Some(now),
            Taker::Peer => Some(now.after_micros(self.limits.pause_us)),
            // They are proposed when there is a leader.
            Taker::Nobody => None,
        };
        let proposal = |(sequence, command)| Proposal { origin: self.origin(sequence), command };
        sequences.into_iter().map(proposal).collect()
    }

    /// Whether a slice is to be proposed now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|at| at <= now)
    }

    /// If it is time to look, makes due again what another node was given long ago: it may have been lost. What this node
    /// took is in its own log. While much is committed and not applied, what is not heard of may be among that: to propose it again
    /// would only make the backlog longer.
    pub(super) fn look_for_lost(&mut self, now: Timestamp, taker: Taker, has_backlog: bool) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        if has_backlog {
            self.retry_at = Some(now.after_micros(self.limits.pause_us));
            return;
        }
        self.retry_at = (!self.waiting.is_empty()).then(|| now.after_micros(self.limits.retry_us));
        if taker != Taker::Peer {
            return;
        }
        let long_ago = Timestamp(now.0.saturating_sub(self.limits.retry_us));
        for (sequence, waiting) in &self.waiting {
            if waiting.proposed_at <= long_ago && self.due.insert(*sequence) {
                self.under_way_bytes -= weight(&waiting.command);
            }
        }
        if self.has_due() {
            self.due_at = Some(now);
        }
    }

    /// It was proposed and not taken, for want of a leader.
    pub(super) fn refused(&mut self, origin: &Origin) {
        if let Some(waiting) = self.waiting.get_mut(&origin.sequence) {
            waiting.accepted_proposals = waiting.accepted_proposals.saturating_sub(1);
            if self.due.insert(origin.sequence) {
                self.under_way_bytes -= weight(&waiting.command);
            }
        }
    }

    /// It was proposed and there was no room. Returns its ticket if its caller is to be told so: it had just come, and is in
    /// no log. Otherwise it is proposed again soon.
    pub(super) fn refused_for_room(&mut self, now: Timestamp, origin: &Origin) -> Option<Ticket> {
        self.refused(origin);
        let waiting = self.waiting.get(&origin.sequence)?;
        if waiting.accepted_proposals == 0 && !waiting.has_waited {
            return self.settle(origin);
        }
        self.due_at = Some(now.after_micros(self.limits.pause_us));
        None
    }

    fn origin(&self, sequence: u64) -> Origin {
        let settled_below = self.waiting.first_key_value().map_or(sequence, |(&first, _)| first);
        Origin { node: self.node, incarnation: self.incarnation, sequence, settled_below }
    }

    /// The ticket that waits for a proposal of this start of this node; it waits no more.
    pub(super) fn settle(&mut self, origin: &Origin) -> Option<Ticket> {
        if origin.node != self.node || origin.incarnation != self.incarnation {
            return None;
        }
        self.remove(origin.sequence).map(|waiting| waiting.ticket)
    }

    fn remove(&mut self, sequence: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&sequence)?;
        let weight = weight(&waiting.command);
        let (bytes, under_way) = (self.bytes, self.under_way_bytes);
        assert!(weight <= bytes, "sequence {sequence} of {weight} bytes waits, of {bytes} in all");
        self.bytes -= weight;
        if !self.due.remove(&sequence) {
            assert!(
                weight <= under_way,
                "sequence {sequence} of {weight} bytes is under way, of {under_way} in all"
            );
            self.under_way_bytes -= weight;
        }
        if self.waiting.is_empty() {
            let left = (self.bytes, self.under_way_bytes, self.due.len());
            assert_eq!(left, (0, 0, 0), "bytes, bytes under way and due ones of none that wait");
        }
        Some(waiting)
    }

    /// Sees that what is said of the type holds. Costs as much as there are commands that wait.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(super) fn check_invariants(&self) {
        let weigh = |waiting: &Waiting| weight(&waiting.command);
        let bytes: usize = self.waiting.values().map(weigh).sum();
        assert_eq!(self.bytes, bytes, "bytes of all that wait");
        let under_way = self.waiting.iter().filter(|(sequence, _)| !self.due.contains(sequence));
        let under_way: usize = under_way.map(|(_, waiting)| weigh(waiting)).sum();
        assert_eq!(self.under_way_bytes, under_way, "bytes of those under way");
        let stranger = self.due.iter().find(|sequence| !self.waiting.contains_key(sequence));
        assert_eq!(stranger, None, "due, and not waiting");
        let last = self.waiting.last_key_value().map(|(sequence, _)| *sequence);
        let next = self.next_sequence;
        assert!(last.is_none_or(|last| last < next), "{last:?} waits, and {next} comes next");
        let (count, Limits { count_max, bytes_max, .. }) = (self.waiting.len(), self.limits);
        assert!(count <= 1 || count <= count_max && bytes <= bytes_max, "{count} of {bytes} bytes wait");
        assert!(
            self.waiting.values().is_sorted_by_key(|waiting| waiting.deadline),
            "who came later ends earlier"
        );
        assert!(count == 0 || self.retry_at.is_some(), "{count} wait, and nobody looks for them");
    }

    /// Removes those whose time is over, each with what its caller is to be told.
    pub(super) fn expire(&mut self, now: Timestamp, is_unknown_hidden: bool) -> Vec<(Ticket, NodeError)> {
        let mut expired = Vec::new();
        while let Some((&sequence, first)) = self.waiting.first_key_value()
            && first.deadline <= now
            && let Some(waiting) = self.remove(sequence)
        {
            let error = match waiting.accepted_proposals {
                0 => NodeError::NoLeader,
                _ if is_unknown_hidden => NodeError::NoLeader,
                _ => NodeError::OutcomeUnknown,
            };
            expired.push((waiting.ticket, error));
        }
        expired
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        count_max: 5_000,
        bytes_max: 32 << 20,
        timeout_us: 7_000,
        retry_us: 600,
        pause_us: 30,
        forwarded_bytes_max: 220,
    };

    fn at(micros: u64) -> Timestamp {
        Timestamp(1_000_000 + micros)
    }

    fn with(taker: Taker, count: u64, bytes: usize) -> (PendingProposals, usize) {
        let mut pending = PendingProposals::new(NodeId(1), Incarnation(1), LIMITS);
        let command = Bytes::from(vec![0; bytes]);
        let add = |number| pending.add(at(0), Ticket(number), command.clone(), taker).unwrap().is_some();
        let proposed = (1..=count).map(add).filter(|is_proposed| *is_proposed).count();
        (pending, proposed)
    }

    fn under_way(pending: &PendingProposals) -> usize {
        let waiting = pending.waiting.iter().filter(|(sequence, _)| !pending.due.contains(sequence));
        waiting.map(|(_, waiting)| weight(&waiting.command)).sum()
    }

    #[test]
    fn a_new_leader_is_given_everything_slice_by_slice_in_order() {
        let (mut pending, _) = with(Taker::Here, 3_000, 1);
        pending.leader_changed(at(10));
        let mut sequences = Vec::new();
        while pending.is_due(at(10)) {
            let slice = pending.slice(at(10), Taker::Here);
            assert!(!slice.is_empty() && slice.len() <= SLICE_COUNT_MAX);
            sequences.extend(slice.iter().map(|proposal| proposal.origin.sequence));
        }
        assert_eq!(sequences, (1..=3_000).collect::<Vec<_>>());
        assert_eq!(pending.deadline(), Some(at(610)), "nothing is left to do but to look for what was lost");
    }

    #[test]
    fn a_slice_is_bounded_in_bytes_and_never_empty() {
        let (mut pending, _) = with(Taker::Here, 3, SLICE_BYTES_MAX / 2 + 1);
        pending.leader_changed(at(10));
        assert_eq!([1, 1, 1, 0].map(|_| pending.slice(at(10), Taker::Here).len()), [1, 1, 1, 0]);
    }

    #[test]
    fn no_more_is_on_its_way_to_another_node_than_may_be() {
        let (mut pending, proposed) = with(Taker::Peer, 10, 40);
        assert_eq!((proposed, pending.under_way_bytes), (2, 208));
        assert!(pending.slice(at(30), Taker::Peer).is_empty());
        let first = pending.origin(1);
        assert_eq!(pending.settle(&first), Some(Ticket(1)));
        let slice = pending.slice(at(30), Taker::Peer);
        assert_eq!(slice.iter().map(|proposal| proposal.origin.sequence).collect::<Vec<_>>(), [3]);
        assert_eq!(pending.due_at, Some(at(60)), "the others are tried again");
        assert_eq!(pending.under_way_bytes, under_way(&pending));
    }

    #[test]
    fn one_command_is_forwarded_however_large_it_is() {
        let (_, proposed) = with(Taker::Peer, 2, LIMITS.forwarded_bytes_max + 1);
        assert_eq!(proposed, 1);
    }

    #[test]
    fn what_is_not_heard_of_is_proposed_again_by_a_follower_and_not_by_a_leader() {
        let (mut pending, _) = with(Taker::Peer, 2, 40);
        pending.look_for_lost(at(599), Taker::Peer, false);
        assert!(!pending.has_due());
        pending.look_for_lost(at(600), Taker::Here, false);
        assert!(!pending.has_due(), "it is in this node's own log");
        pending.look_for_lost(at(1_200), Taker::Peer, false);
        assert!(pending.is_due(at(1_200)));
        assert_eq!(pending.under_way_bytes, 0);
        assert_eq!(pending.slice(at(1_200), Taker::Peer).len(), 2);
        assert_eq!(pending.under_way_bytes, under_way(&pending));
    }

    #[test]
    fn what_may_be_in_a_backlog_is_not_proposed_again_before_that_is_applied() {
        let (mut pending, _) = with(Taker::Peer, 2, 40);
        for now in [600, 630, 5_000] {
            pending.look_for_lost(at(now), Taker::Peer, true);
            assert!(!pending.has_due());
            assert_eq!(pending.deadline(), Some(at(now + 30)), "it is looked again soon");
        }
        pending.look_for_lost(at(5_030), Taker::Peer, false);
        assert!(pending.is_due(at(5_030)));
    }

    #[test]
    fn a_full_leader_refuses_what_has_just_come_and_keeps_what_has_waited() {
        let (mut pending, proposed) = with(Taker::Here, 2, 40);
        assert_eq!(proposed, 2);
        let [first, second] = [1, 2].map(|sequence| pending.origin(sequence));
        assert_eq!(pending.refused_for_room(at(1), &first), Some(Ticket(1)));
        pending.leader_changed(at(2));
        assert_eq!(pending.slice(at(2), Taker::Here).len(), 1);
        assert_eq!(pending.refused_for_room(at(2), &second), None, "it may be in the former leader's log");
        assert!(!pending.is_due(at(31)) && pending.is_due(at(32)));
        assert_eq!(pending.under_way_bytes, under_way(&pending));
    }

    #[test]
    fn no_more_waits_than_may_in_number_and_in_bytes() {
        let limits = Limits { count_max: 3, bytes_max: 400, ..LIMITS };
        for (bytes, room) in [(10, 3), (136, 2), (137, 1), (1_000, 1)] {
            let mut pending = PendingProposals::new(NodeId(1), Incarnation(1), limits);
            let command = Bytes::from(vec![0; bytes]);
            let mut add = |number| pending.add(at(0), Ticket(number), command.clone(), Taker::Nobody);
            let taken = (1..=5).map(&mut add).filter(Result::is_ok).count();
            assert_eq!(taken, room, "of {bytes} bytes");
            let first = pending.origin(1);
            assert_eq!(pending.settle(&first), Some(Ticket(1)));
            assert!(
                pending.add(at(0), Ticket(6), command.clone(), Taker::Nobody).is_ok(),
                "there is room again"
            );
            assert_eq!(pending.expire(at(7_000), false).len(), room);
            assert_eq!(pending.bytes, 0);
        }
    }

    #[test]
    fn without_a_leader_nothing_is_proposed_and_nothing_is_woken_for() {
        let (mut pending, _) = with(Taker::Here, 2, 40);
        let first = pending.origin(1);
        pending.refused(&first);
        assert!(pending.slice(at(1), Taker::Nobody).is_empty());
        assert_eq!(pending.due_at, None);
        assert_eq!(
            pending.expire(at(7_000), false),
            [(Ticket(1), NodeError::NoLeader), (Ticket(2), NodeError::OutcomeUnknown)]
        );
        assert_eq!((pending.len(), pending.under_way_bytes, pending.deadline()), (0, 0, None));
    }
}
