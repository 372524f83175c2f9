//! This node's clients' commands, from their arrival to their answer: proposed again, under the same
//! origin, when the leader changes or nothing was heard of them for long.

use bytes::Bytes;
use ruvector_protocol::{Input, Origin, RejectReason, Timestamp};
use ruvector_state_machine::StateMachine;

use super::pending::Taker;
use super::planted::PlantedBug;
use super::{Output, Replica, ReplicaError, Ticket};
use crate::outcome::NodeError;

impl<M: StateMachine> Replica<M> {
    pub(super) fn propose(
        &mut self,
        now: Timestamp,
        commands: Vec<(Ticket, Bytes)>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let taker = self.taker();
        let mut proposals = Vec::with_capacity(commands.len());
        for (ticket, command) in commands {
            match self.proposals.add(now, ticket, command, taker) {
                Ok(proposal) => proposals.extend(proposal),
                Err(ticket) => outputs.push(Output::Proposed { ticket, result: Err(NodeError::TooBusy) }),
            }
        }
        if proposals.is_empty() { Ok(()) } else { self.step(now, Input::Propose(proposals), outputs) }
    }

    fn taker(&self) -> Taker {
        match self.raft.leader() {
            Some(leader) if leader == self.config.node => Taker::Here,
            Some(_) => Taker::Peer,
            None => Taker::Nobody,
        }
    }

    /// The leader changed: everything that waits is to be proposed again. This is the first slice of it.
    pub(super) fn proposals_for_new_leader(&mut self, now: Timestamp) -> Option<Input> {
        self.proposals.leader_changed(now);
        let proposals = self.proposals.slice(now, self.taker());
        (!proposals.is_empty()).then_some(Input::Propose(proposals))
    }

    /// Proposes what is due, as much as one turn takes. Nothing is lost of what does not fit: the rest follows in other turns.
    pub(super) fn propose_due(
        &mut self,
        now: Timestamp,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let proposals = self.proposals.slice(now, self.taker());
        if proposals.is_empty() { Ok(()) } else { self.step(now, Input::Propose(proposals), outputs) }
    }

    /// Takes back what the core just refused. Without a leader it waits for one; where there is no room its
    /// caller is told, if it is certain that it is in no log.
    pub(super) fn proposals_rejected(
        &mut self,
        now: Timestamp,
        origins: &[Origin],
        reason: RejectReason,
        outputs: &mut Vec<Output<M>>,
    ) {
        for origin in origins {
            if reason != RejectReason::TooBusy {
                self.proposals.refused(origin);
            } else if let Some(ticket) = self.proposals.refused_for_room(now, origin) {
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
        let has_backlog = self.raft.commit() > self.applied.index;
        self.proposals.look_for_lost(now, self.taker(), has_backlog);
        if self.proposals.is_due(now) { self.propose_due(now, outputs) } else { Ok(()) }
    }
}
