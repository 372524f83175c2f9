//! This node's clients' commands, from their arrival to their answer: proposed again, under the same
//! origin, when the leader changes or nothing was heard of them for long.

use std::collections::BTreeMap;

use bytes::Bytes;
use ruvector_protocol::{Incarnation, Input, NodeId, Origin, PlantedBug, Proposal, RejectReason, Timestamp};
use ruvector_state_machine::StateMachine;

use super::{Output, Replica, ReplicaError, Ticket};
use crate::handle::NodeError;

/// The commands that wait, by sequence.
///
/// Invariant: every sequence below the first waiting one is settled and never proposed again.
#[derive(Debug)]
pub(super) struct PendingProposals {
    node: NodeId,
    incarnation: Incarnation,
    next_sequence: u64,
    waiting: BTreeMap<u64, Waiting>,
    retry_at: Option<Timestamp>,
    limits: Limits,
}

/// What bounds the waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many may wait.
    pub(super) count_max: usize,
    /// How long one may wait, in microseconds.
    pub(super) timeout_us: u64,
    /// After how long without an answer it is proposed again, in microseconds.
    pub(super) retry_us: u64,
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
}

/// How many commands one retry proposes again at most: the oldest first.
const RETRY_COUNT_MAX: usize = 1024;

impl PendingProposals {
    pub(super) fn new(node: NodeId, incarnation: Incarnation, limits: Limits) -> Self {
        Self { node, incarnation, next_sequence: 1, waiting: BTreeMap::new(), retry_at: None, limits }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        // All wait equally long, so the first is due first.
        let expiry = self.waiting.first_key_value().map(|(_, waiting)| waiting.deadline);
        expiry.into_iter().chain(self.retry_at.filter(|_| !self.waiting.is_empty())).min()
    }

    /// Takes a new command, if there is room.
    fn add(&mut self, now: Timestamp, ticket: Ticket, command: Bytes) -> Option<Proposal> {
        if self.waiting.len() >= self.limits.count_max {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let deadline = now.after_micros(self.limits.timeout_us);
        let waiting =
            Waiting { ticket, command: command.clone(), deadline, proposed_at: now, accepted_proposals: 1 };
        self.waiting.insert(sequence, waiting);
        self.retry_at.get_or_insert(now.after_micros(self.limits.retry_us));
        Some(Proposal { origin: self.origin(sequence), command })
    }

    /// The waiting commands that were last proposed at or before a time, to be proposed again.
    fn again(&mut self, now: Timestamp, proposed_by: Timestamp) -> Vec<Proposal> {
        self.retry_at = (!self.waiting.is_empty()).then(|| now.after_micros(self.limits.retry_us));
        let mut proposals = Vec::new();
        for (&sequence, waiting) in &mut self.waiting {
            if waiting.proposed_at <= proposed_by && proposals.len() < RETRY_COUNT_MAX {
                waiting.proposed_at = now;
                waiting.accepted_proposals += 1;
                proposals.push((sequence, waiting.command.clone()));
            }
        }
        proposals
            .into_iter()
            .map(|(sequence, command)| Proposal { origin: self.origin(sequence), command })
            .collect()
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
        self.waiting.remove(&origin.sequence).map(|waiting| waiting.ticket)
    }

    /// Removes those whose time is over, each with what its caller is to be told.
    fn expire(&mut self, now: Timestamp, is_unknown_hidden: bool) -> Vec<(Ticket, NodeError)> {
        let mut expired = Vec::new();
        while let Some(first) = self.waiting.first_entry()
            && first.get().deadline <= now
        {
            let waiting = first.remove();
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

impl<M: StateMachine> Replica<M> {
    pub(super) fn propose(
        &mut self,
        now: Timestamp,
        commands: Vec<(Ticket, Bytes)>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let mut proposals = Vec::with_capacity(commands.len());
        for (ticket, command) in commands {
            match self.proposals.add(now, ticket, command) {
                Some(proposal) => proposals.push(proposal),
                None => outputs.push(Output::Proposed { ticket, result: Err(NodeError::TooBusy) }),
            }
        }
        if proposals.is_empty() { Ok(()) } else { self.step(now, Input::Propose(proposals), outputs) }
    }

    /// What is to be proposed again because the leader changed: everything that waits.
    pub(super) fn proposals_for_new_leader(&mut self, now: Timestamp) -> Option<Input> {
        let proposals = self.proposals.again(now, now);
        (!proposals.is_empty()).then_some(Input::Propose(proposals))
    }

    /// Takes back what the core just refused. Without a leader it waits for one; where there is no room its
    /// caller is told, if it is certain that it is in no log.
    pub(super) fn proposals_rejected(
        &mut self,
        origins: &[Origin],
        reason: RejectReason,
        outputs: &mut Vec<Output<M>>,
    ) {
        for origin in origins {
            let Some(waiting) = self.proposals.waiting.get_mut(&origin.sequence) else { continue };
            waiting.accepted_proposals = waiting.accepted_proposals.saturating_sub(1);
            if reason == RejectReason::TooBusy
                && waiting.accepted_proposals == 0
                && let Some(ticket) = self.proposals.settle(origin)
            {
                outputs.push(Output::Proposed { ticket, result: Err(NodeError::TooBusy) });
            }
        }
    }

    /// Tells callers whose time is over, and proposes again what was not heard of for long.
    pub(super) fn wake_proposals(
        &mut self,
        now: Timestamp,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let is_unknown_hidden = self.config.planted(PlantedBug::UnknownToldAsRefused);
        for (ticket, error) in self.proposals.expire(now, is_unknown_hidden) {
            outputs.push(Output::Proposed { ticket, result: Err(error) });
        }
        if self.proposals.retry_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let long_ago = Timestamp(now.0.saturating_sub(self.proposals.limits.retry_us));
        let proposals = self.proposals.again(now, long_ago);
        // What a leader took is in its own log: only a forwarded proposal can have been lost.
        let leads = self.raft.leader() == Some(self.config.node);
        if proposals.is_empty() || leads {
            Ok(())
        } else {
            self.step(now, Input::Propose(proposals), outputs)
        }
    }
}
