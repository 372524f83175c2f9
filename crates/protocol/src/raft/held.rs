//! Answers that wait for a write.

use std::collections::VecDeque;

use crate::types::{Incarnation, Index, NodeId, Term, Timestamp, WriteId};

/// Answers to peers that rest on something that is not durable yet.
///
/// Bounded by the writes that are under way: answers to appends that wait for the same write become one, and
/// a term has one vote.
#[derive(Debug, Default)]
pub(crate) struct HeldReplies {
    queue: VecDeque<HeldReply>,
}

/// An answer, and the write that it waits for.
#[derive(Debug)]
pub(crate) struct HeldReply {
    pub(crate) after: WriteId,
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) reply: Reply,
}

#[derive(Debug)]
pub(crate) enum Reply {
    /// The vote is given to this start of the candidate.
    Vote { incarnation: Incarnation },
    /// The log matches through `matched`; the rest is from the leader's stamp.
    Append { matched: Index, echo: Timestamp, read_round: u64 },
}

impl HeldReplies {
    pub(crate) fn hold(&mut self, held: HeldReply) {
        match self.queue.back_mut().filter(|newest| newest.after == held.after) {
            Some(newest) if newest.can_say_both(&held) => newest.reply.merge(&held.reply),
            Some(_) | None => self.queue.push_back(held),
        }
    }

    /// What may be sent now that `id` is durable. An answer of an older term is forgotten: whoever waits for
    /// it has gone, and the log that it speaks of may have changed.
    pub(crate) fn release(&mut self, id: WriteId, term: Term) -> Vec<HeldReply> {
        let mut released: Vec<HeldReply> = Vec::new();
        while let Some(held) = self.queue.pop_front_if(|held| held.after <= id) {
            match released.last_mut() {
                _ if held.term != term => {}
                Some(newest) if newest.can_say_both(&held) => newest.reply.merge(&held.reply),
                Some(_) | None => released.push(held),
            }
        }
        released
    }
}

impl HeldReply {
    fn can_say_both(&self, other: &Self) -> bool {
        let same_kind = match (&self.reply, &other.reply) {
            (Reply::Append { .. }, Reply::Append { .. }) | (Reply::Vote { .. }, Reply::Vote { .. }) => true,
            (Reply::Append { .. }, Reply::Vote { .. }) | (Reply::Vote { .. }, Reply::Append { .. }) => false,
        };
        same_kind && self.to == other.to && self.term == other.term
    }
}

impl Reply {
    /// Makes one reply of two to the same node in the same term: it says the most that either says.
    fn merge(&mut self, later: &Self) {
        match (self, later) {
            (
                Self::Append { matched, echo, read_round },
                Self::Append { matched: later_matched, echo: later_echo, read_round: later_round },
            ) => {
                *matched = (*matched).max(*later_matched);
                *echo = (*echo).max(*later_echo);
                *read_round = (*read_round).max(*later_round);
            }
            (Self::Vote { incarnation }, Self::Vote { incarnation: later }) => {
                *incarnation = (*incarnation).max(*later);
            }
            (Self::Vote { .. }, Self::Append { .. }) | (Self::Append { .. }, Self::Vote { .. }) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(after: u64, term: u64, matched: u64) -> HeldReply {
        let reply = Reply::Append { matched: Index(matched), echo: Timestamp(matched), read_round: matched };
        HeldReply { after: WriteId(after), to: NodeId(2), term: Term(term), reply }
    }

    fn matched(released: &[HeldReply]) -> Vec<u64> {
        let index = |held: &HeldReply| match held.reply {
            Reply::Append { matched, .. } => matched.0,
            Reply::Vote { .. } => 0,
        };
        released.iter().map(index).collect()
    }

    #[test]
    fn replies_that_wait_for_one_write_become_one_and_others_do_not() {
        let mut held = HeldReplies::default();
        [append(1, 1, 5), append(1, 1, 4), append(2, 1, 6)].into_iter().for_each(|reply| held.hold(reply));
        assert_eq!(held.queue.len(), 2);
        assert_eq!(matched(&held.release(WriteId(1), Term(1))), [5]);
        assert_eq!(matched(&held.release(WriteId(2), Term(1))), [6]);
    }

    #[test]
    fn what_is_released_together_is_said_once() {
        let mut held = HeldReplies::default();
        (1..5).for_each(|write| held.hold(append(write, 1, 10 + write)));
        assert_eq!(matched(&held.release(WriteId(3), Term(1))), [13]);
    }

    #[test]
    fn what_was_held_in_an_older_term_is_forgotten() {
        let mut held = HeldReplies::default();
        held.hold(append(1, 1, 5));
        held.hold(append(1, 2, 3));
        assert_eq!(matched(&held.release(WriteId(1), Term(2))), [3]);
    }
}
