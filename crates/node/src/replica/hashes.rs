//! Comparing replicas: every so many entries, and every second, each tells the others its state's hash.

use std::collections::BTreeMap;

use ruvector_protocol::message::StateHash;
use ruvector_protocol::{ClusterTime, Index, Message, NodeId};
use ruvector_state_machine::StateMachine;

use super::{Output, Replica, ReplicaError};

/// The hashes of the last few compared indexes, this replica's and its peers'.
#[derive(Debug, Default)]
pub(super) struct HashChecks {
    own: BTreeMap<Index, u128>,
    peers: BTreeMap<Index, BTreeMap<NodeId, u128>>,
}

/// While entries come, replicas compare at least once in so long, in milliseconds of cluster time.
const INTERVAL_MS: u64 = 1_000;
/// How many compared indexes are remembered.
const REMEMBERED_MAX: usize = 64;

impl HashChecks {
    /// The hash that a majority of `voter_count` replicas has at an index, if it is not this one's.
    fn outvoted(&self, index: Index, voter_count: usize) -> Option<(u128, u128)> {
        let own = *self.own.get(&index)?;
        let mut counts: BTreeMap<u128, usize> = BTreeMap::new();
        for hash in self.peers.get(&index)?.values().filter(|hash| **hash != own) {
            *counts.entry(*hash).or_default() += 1;
        }
        counts.into_iter().find(|(_, count)| *count > voter_count / 2).map(|(majority, _)| (own, majority))
    }

    fn forget_old(&mut self) {
        while self.own.len() > REMEMBERED_MAX {
            self.own.pop_first();
        }
        while self.peers.len() > REMEMBERED_MAX {
            self.peers.pop_first();
        }
    }

    /// Forgets everything: the state was replaced.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<M: StateMachine> Replica<M> {
    /// Tells the peers the hash at the applied index, if it is one to compare at. `before` is the cluster time of the entry
    /// before it.
    pub(super) fn record_hash(
        &mut self,
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
            outputs.push(Output::Send(self.envelope(peer, Message::StateHash(StateHash { index, hash }))));
        }
        self.check_hash(index)
    }

    pub(super) fn peer_hash(&mut self, from: NodeId, theirs: StateHash) -> Result<(), ReplicaError> {
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
        self.check_hash(theirs.index)
    }

    fn check_hash(&self, index: Index) -> Result<(), ReplicaError> {
        match self.hashes.outvoted(index, self.peers.len() + 1) {
            Some((own, majority)) => Err(ReplicaError::Diverged { index, own, majority }),
            None => Ok(()),
        }
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

    #[test]
    fn only_a_majority_against_it_stops_a_replica() {
        let mut checks = HashChecks::default();
        let index = Index(64);
        checks.own.insert(index, 1);
        checks.peers.entry(index).or_default().insert(NodeId(2), 9);
        assert_eq!(checks.outvoted(index, 3), None, "one against one is undecided");
        checks.peers.entry(index).or_default().insert(NodeId(3), 9);
        assert_eq!(checks.outvoted(index, 3), Some((1, 9)));
        checks.own.insert(index, 9);
        assert_eq!(checks.outvoted(index, 3), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut checks = HashChecks::default();
        for index in 0..1000 {
            checks.own.insert(Index(index), 1);
            checks.peers.entry(Index(index)).or_default().insert(NodeId(2), 1);
            checks.forget_old();
        }
        assert!(checks.own.len() <= REMEMBERED_MAX && checks.peers.len() <= REMEMBERED_MAX);
    }
}
