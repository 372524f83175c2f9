//! Feeding the protocol core and doing what it asks for.

use std::collections::VecDeque;

use ruvector_protocol::{Effect, Entry, Envelope, Input, Message, NodeId, Term, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_transport::{FRAME_BYTES_MAX, PeerMessage, ReplicaEnvelope, ReplicaMessage};

use crate::config::COMMAND_BYTES_MAX;

use super::loads::wishes::Load;
use super::{Output, Replica, ReplicaError};

impl<M: StateMachine> Replica<M> {
    /// Gives the core an input, does its effects, and gives it the inputs that answer them.
    pub(super) fn step(
        &mut self,
        now: Timestamp,
        input: Input,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let was_newcomer = self.raft.is_newcomer();
        let mut effects = std::mem::take(&mut self.effects);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.raft.step(now, input, &mut effects);
            for effect in effects.drain(..) {
                self.perform(now, effect, &mut inputs, outputs)?;
            }
        }
        self.effects = effects;
        if was_newcomer && !self.raft.is_newcomer() {
            tracing::info!("every member was heard: this node votes and counts from now on");
        }
        Ok(())
    }

    fn perform(
        &mut self,
        now: Timestamp,
        effect: Effect,
        inputs: &mut VecDeque<Input>,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        match effect {
            Effect::Persist(write) => {
                let before = self.unsynced.replace(write.id);
                assert!(
                    before.is_none_or(|before| before < write.id),
                    "write {} is asked for after {before:?}",
                    write.id.0
                );
                self.journal.push(write);
            }
            Effect::Send(envelope) => outputs.push(Output::Send(fitting(PeerMessage::Consensus(envelope)))),
            Effect::Apply(entries) => self.committed(entries),
            Effect::ServeRead { ids, index, lease_until } => {
                self.reads_safe(ids, index, lease_until, outputs);
            }
            Effect::RejectReads { ids, reason: _ } => self.reads_refused(now, ids),
            Effect::RejectProposals { origins, reason } => {
                self.proposals_rejected(now, &origins, reason, outputs);
            }
            Effect::LoadEntries { to, from, through, bytes_max } => {
                inputs.extend(self.load_entries(to, Load { from, through, bytes_max })?);
            }
            Effect::SendSnapshot { to } => inputs.extend(self.begin_transfer(now, to, outputs)?),
            Effect::InstallSnapshot(meta) => {
                // What differed is replaced.
                let differed = self.differs_at().is_some();
                inputs.push_back(self.install_snapshot(&meta, outputs)?);
                inputs.extend(differed.then_some(Input::Suspect(false)));
            }
            Effect::EntriesLost { acknowledged, last } => {
                return Err(ReplicaError::EntriesLost { acknowledged, last });
            }
            Effect::IncarnationSuperseded { own, by } => {
                return Err(ReplicaError::IncarnationSuperseded { own, by });
            }
            Effect::Contradicted { leader, contradiction } => {
                return Err(ReplicaError::Contradicted { leader, contradiction });
            }
            Effect::FollowerContradicts { follower, committed } => tracing::error!(
                "node {:x} has committed entry {} of term {}, which this leader's log does not hold: a disk has lost \
                 durable writes or was replaced by an older copy, of this node, of node {0:x} or of another; acknowledged \
                 writes may be in the data directory of node {0:x} only: keep it",
                follower.0,
                committed.index,
                committed.term
            ),
            Effect::LeaderChanged { leader, term } => {
                inputs.extend(self.leader_changed(now, leader, term));
            }
        }
        Ok(())
    }

    /// Entries are committed: they wait to be applied.
    fn committed(&mut self, entries: Vec<Entry>) {
        let last = self.committed.back().map_or(self.applied.index, |entry| entry.index);
        if let Some(first) = entries.first() {
            assert_eq!(first.index, last.next(), "entries are committed in order, each once");
        }
        self.committed.extend(entries);
    }

    fn leader_changed(&mut self, now: Timestamp, leader: Option<NodeId>, term: Term) -> Vec<Input> {
        self.tick_awaited = None;
        self.sender.end_all_outgoing();
        self.loads.clear();
        let Some(leader) = leader else {
            tracing::info!("no leader known in term {term}");
            return Vec::new();
        };
        tracing::info!("leader of term {term} is {:x}", leader.0);
        self.leader_changes += 1;
        let mut inputs = self.reads_for_new_leader();
        inputs.extend(self.proposals_for_new_leader(now));
        inputs
    }

    /// A message arrived, for the core or for the replica itself.
    pub(super) fn receive(
        &mut self,
        now: Timestamp,
        message: PeerMessage,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let (group, to) = (message.group(), message.to());
        if group != self.config.group || to != self.config.node {
            // No warning: a peer could fill the log with them.
            tracing::debug!("dropped a message for group {group} of node {:x}", to.0);
            return Ok(());
        }
        match message {
            PeerMessage::Consensus(envelope) => {
                self.reads.notice(&envelope.message);
                self.step(now, Input::Receive(without_unsendable(envelope)), outputs)
            }
            PeerMessage::Replica(ReplicaEnvelope { from, message, .. }) => match message {
                ReplicaMessage::SnapshotChunk(chunk) => self.receive_chunk(from, chunk, outputs),
                ReplicaMessage::SnapshotChunkResponse(response) => {
                    self.chunk_answered(now, from, &response, outputs)
                }
                ReplicaMessage::StateHash(theirs) => self.peer_hash(now, from, theirs, outputs),
            },
        }
    }

    /// Time has passed for whoever waits for it.
    pub(super) fn wake(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        self.step(now, Input::Wake, outputs)?;
        if self.tick_due(now).is_some_and(|due| due <= now) {
            self.step(now, Input::ProposeTick, outputs)?;
            self.tick_awaited = Some(self.raft.last().index);
        }
        self.wake_proposals(now, outputs)?;
        self.wake_reads(now, outputs)?;
        self.wake_transfers(now, outputs)?;
        self.wake_snapshots(now, outputs);
        Ok(())
    }

    /// When the machine wants cluster time to have passed, on this node's clock, if this node leads.
    pub(super) fn tick_due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.tick_awaited.is_some() || !self.raft.is_established_leader() {
            return None;
        }
        let wake_at_ms = self.machine.wake_at_ms()?;
        let wait_ms = wake_at_ms.saturating_sub(self.raft.cluster_time(now).0);
        Some(now.after_micros(wait_ms.saturating_mul(1000)))
    }

    /// Says something to a peer's replica that the cores hear nothing of.
    pub(super) fn say(&self, to: NodeId, message: ReplicaMessage) -> Output<M> {
        let (group, from) = (self.config.group, self.config.node);
        Output::Send(fitting(PeerMessage::Replica(ReplicaEnvelope { group, from, to, message })))
    }
}

/// A message that the transport takes. One that it does not would be lost whenever it is sent again, and nobody would know.
fn fitting(message: PeerMessage) -> PeerMessage {
    let bytes = message.encoded_bytes_max();
    assert!(bytes <= FRAME_BYTES_MAX, "a message of {bytes} bytes, the transport takes {FRAME_BYTES_MAX}");
    message
}

/// Leaves out what came from a peer and is larger than what this node could send on.
fn without_unsendable(mut envelope: Envelope) -> Envelope {
    if let Message::ForwardProposals(forwarded) = &mut envelope.message {
        let from = envelope.from.0;
        forwarded.proposals.retain(|proposal| {
            let bytes = proposal.command.len();
            let is_sendable = bytes <= COMMAND_BYTES_MAX;
            if !is_sendable {
                tracing::warn!(
                    "dropped a command of {bytes} bytes that {from:x} sent on: no message takes it"
                );
            }
            is_sendable
        });
    }
    envelope
}
