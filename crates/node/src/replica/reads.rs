//! Reads, from their arrival to the moment they may be made.

pub(super) mod pending;

use ruvector_protocol::{Index, Input, ReadId, Timestamp};
use ruvector_state_machine::StateMachine;

use super::{Output, ReadGrant, Replica, ReplicaError, Ticket};
use crate::outcome::{NodeError, ReadLevel};

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
