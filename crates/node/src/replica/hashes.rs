//! Comparing replicas: every so many entries, and every second, each tells the others its state's hash.

pub(super) mod checks;

use ruvector_protocol::{ClusterTime, Index, Input, NodeId, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_transport::{ReplicaMessage, StateHash};

use super::planted::PlantedBug;
use super::{Output, Replica, ReplicaError};
use checks::Verdict;

/// While entries come, replicas compare at least once in so long, in milliseconds of cluster time.
const INTERVAL_MS: u64 = 1_000;

impl<M: StateMachine> Replica<M> {
    /// Tells the peers the hash at the applied index, if it is one to compare at. `before` is the cluster time of the entry
    /// before it.
    pub(super) fn record_hash(
        &mut self,
        now: Timestamp,
        before: ClusterTime,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let every = self.config.tuning.hash_check_entries;
        let index = self.applied.index;
        if !is_compared(index, before, self.applied_time, every) {
            return Ok(());
        }
        let hash = self.state_hash();
        self.hashes.own.insert(index, hash);
        self.hashes.forget_old();
        for &peer in self.peers.iter() {
            outputs.push(self.say(peer, ReplicaMessage::StateHash(StateHash { index, hash })));
        }
        self.check_hash(now, index, outputs)
    }

    /// The first index at which a peer's state differed, while no majority has decided which of the two is right.
    #[must_use]
    pub fn differs_at(&self) -> Option<Index> {
        self.hashes.differs_at
    }

    pub(super) fn peer_hash(
        &mut self,
        now: Timestamp,
        from: NodeId,
        theirs: StateHash,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if !self.peers.contains(&from) {
            return Ok(());
        }
        if let Some(own) = self.hashes.own.get(&theirs.index)
            && *own != theirs.hash
        {
            tracing::error!(
                "state differs from {:x}'s at index {}: {own:032x} here, {:032x} there",
                from.0,
                theirs.index,
                theirs.hash
            );
        }
        self.hashes.peers.entry(theirs.index).or_default().insert(from, theirs.hash);
        self.hashes.forget_old();
        self.check_hash(now, theirs.index, outputs)
    }

    /// One that a majority disagrees with stops. One that differs from a peer while no majority agrees does not lead, vote
    /// or serve linearizable reads until a majority has its state: an answer would be wrong with even odds.
    fn check_hash(
        &mut self,
        now: Timestamp,
        index: Index,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if self.config.planted(PlantedBug::DifferenceIgnored) {
            return Ok(());
        }
        let is_suspect = match self.hashes.verdict(index, self.peers.len() + 1) {
            Verdict::Outvoted { own, majority } => {
                return Err(ReplicaError::Diverged { index, own, majority });
            }
            Verdict::Undecided => true,
            Verdict::Confirmed if self.hashes.differs_at.is_some_and(|differs_at| index >= differs_at) => {
                false
            }
            Verdict::Confirmed | Verdict::Unknown => return Ok(()),
        };
        if is_suspect == self.hashes.differs_at.is_some() {
            return Ok(());
        }
        self.hashes.differs_at = is_suspect.then_some(index);
        if is_suspect {
            tracing::error!(
                "this node neither leads nor votes from now on: its state differs from a peer's at index {index}, and no \
                 majority has decided which is right; start the nodes that are down, and the one that is wrong will stop; \
                 if that is not possible, keep all data directories and see OPERATIONS.md"
            );
        } else {
            tracing::info!("a majority has this node's state at index {index}: it leads and votes again");
        }
        self.step(now, Input::Suspect(is_suspect), outputs)
    }
}

/// Whether replicas compare at an index. Every replica must find the same, so this rests on the log alone: on the index, and on
/// the cluster times of the entry there and the one before it.
fn is_compared(index: Index, before: ClusterTime, time: ClusterTime, every: u64) -> bool {
    every != 0 && (index.0.is_multiple_of(every) || before.0 / INTERVAL_MS != time.0 / INTERVAL_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_compare_every_so_many_entries_and_at_the_first_of_each_second() {
        let compared =
            |index, before, time| is_compared(Index(index), ClusterTime(before), ClusterTime(time), 512);
        assert!(compared(1_024, 10, 10));
        assert!(!compared(1_025, 10, 999));
        assert!(compared(1_025, 999, 1_000));
        assert!(!compared(1_026, 1_000, 1_000));
        assert!(!is_compared(Index(1_024), ClusterTime(999), ClusterTime(1_000), 0), "0 is never");
    }
}
