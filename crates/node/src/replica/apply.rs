//! Committed entries meet the state machine.

use ruvector_protocol::{Entry, Input, Origin, Payload, Timestamp};
use ruvector_state_machine::{Committed, StateMachine};

use super::planted::PlantedBug;
use super::{Output, Replica, ReplicaError};
use crate::outcome::{Applied, NodeError};

/// How many entries one turn applies at most, whatever they cost.
const APPLY_COUNT_MAX: usize = 4096;

impl<M: StateMachine> Replica<M> {
    /// Applies what is committed, so many entries at most, answers this node's clients, and lets go the reads that waited for
    /// it. After each entry that has others behind it, asks whether that is enough for this turn: a long backlog is to keep no
    /// heartbeat waiting.
    ///
    /// # Errors
    /// Any error means that this replica must stop.
    pub fn apply(
        &mut self,
        now: Timestamp,
        entries_max: usize,
        mut is_enough: impl FnMut() -> bool,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if self.committed.is_empty() {
            return Ok(());
        }
        // The version is taken when this output is reached: after everything below was applied.
        outputs.push(Output::Published { group: self.config.group });
        for _ in 0..APPLY_COUNT_MAX.min(entries_max) {
            let Some(entry) = self.committed.pop_front() else { break };
            let before = self.applied_time;
            self.apply_entry(entry, outputs);
            self.record_hash(now, before, outputs)?;
            if !self.committed.is_empty()
                && is_enough()
                && !self.config.planted(PlantedBug::BacklogAppliedAtOnce)
            {
                break;
            }
        }
        if self.committed.is_empty() {
            // After a start or an outage everything since the last snapshot was in here.
            self.committed.shrink_to(APPLY_COUNT_MAX);
        }
        if self.tick_awaited.is_some_and(|awaited| awaited <= self.applied.index) {
            self.tick_awaited = None;
        }
        self.snapshots.tell_applied(self.applied.index);
        self.release_reads(outputs);
        self.step(now, Input::Applied(self.applied.index), outputs)?;
        // What was settled has made room.
        if self.proposals.has_due() {
            self.propose_due(now, outputs)?;
        }
        self.snapshot_if_due(outputs);
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry, outputs: &mut Vec<Output<M>>) {
        let position = entry.position();
        assert_eq!(position.index, self.applied.index.next(), "entries are applied in order, each once");
        let commit = self.raft.commit();
        assert!(position.index <= commit, "applying {}, committed through {commit}", position.index);
        assert!(
            entry.time >= self.applied_time,
            "cluster time falls from {} to {} at index {}",
            self.applied_time,
            entry.time,
            position.index
        );
        self.applied = position;
        self.applied_time = entry.time;
        match entry.payload {
            Payload::Noop | Payload::Tick => self.machine.advance_time(position.index.0, entry.time.0),
            Payload::Command(proposal) if self.admits(&proposal.origin) => {
                let committed =
                    Committed { index: position.index.0, time_ms: entry.time.0, command: proposal.command };
                let response = self.machine.apply(&committed);
                if let Some(ticket) = self.proposals.settle(&proposal.origin) {
                    outputs.push(Output::Proposed { ticket, result: Ok(Applied { position, response }) });
                }
            }
            Payload::Command(proposal) => {
                self.machine.advance_time(position.index.0, entry.time.0);
                // It was applied before, in a part of the log that came to this node as a snapshot: its
                // answer is lost.
                if let Some(ticket) = self.proposals.settle(&proposal.origin) {
                    outputs.push(Output::Proposed { ticket, result: Err(NodeError::OutcomeUnknown) });
                }
            }
        }
    }
    /// Whether a proposal is to be applied now, and not as one that was before.
    fn admits(&mut self, origin: &Origin) -> bool {
        self.origins.admit(origin) || self.config.planted(PlantedBug::RetryAppliedTwice)
    }
}
