//! The hashes of replicas, and what they say of this one.

use std::collections::BTreeMap;

use ruvector_protocol::{Index, NodeId};

/// The hashes of the last few compared indexes, this replica's and its peers'.
#[derive(Debug, Default)]
pub(in crate::replica) struct HashChecks {
    pub(super) own: BTreeMap<Index, u128>,
    pub(super) peers: BTreeMap<Index, BTreeMap<NodeId, u128>>,
    /// The first index at which a peer had another state, while no majority has said whose is right.
    pub(super) differs_at: Option<Index>,
}

/// How many compared indexes are remembered.
const REMEMBERED_MAX: usize = 64;

/// What the hashes at an index say of this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too few are known, and none is another.
    Unknown,
    /// A majority, this replica among it, has this hash.
    Confirmed,
    /// A peer has another, and no majority agrees on any.
    Undecided,
    /// A majority agrees on another.
    Outvoted { own: u128, majority: u128 },
}

impl HashChecks {
    /// What the hashes at an index say, among `voter_count` replicas.
    pub(super) fn verdict(&self, index: Index, voter_count: usize) -> Verdict {
        let Some(own) = self.own.get(&index).copied() else { return Verdict::Unknown };
        let mut counts = BTreeMap::from([(own, 1)]);
        for hash in self.peers.get(&index).into_iter().flat_map(BTreeMap::values) {
            *counts.entry(*hash).or_default() += 1;
        }
        match counts.iter().find(|(_, count)| **count > voter_count / 2) {
            Some((hash, _)) if *hash == own => Verdict::Confirmed,
            Some((majority, _)) => Verdict::Outvoted { own, majority: *majority },
            None if counts.len() > 1 => Verdict::Undecided,
            None => Verdict::Unknown,
        }
    }

    pub(super) fn forget_old(&mut self) {
        while self.own.len() > REMEMBERED_MAX {
            self.own.pop_first();
        }
        while self.peers.len() > REMEMBERED_MAX {
            self.peers.pop_first();
        }
    }

    /// Forgets everything: the state was replaced.
    pub(in crate::replica) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_majority_decides_whose_state_is_right() {
        let mut checks = HashChecks::default();
        let index = Index(64);
        assert_eq!(checks.verdict(index, 3), Verdict::Unknown, "nothing is known");
        checks.own.insert(index, 1);
        assert_eq!(checks.verdict(index, 3), Verdict::Unknown, "nobody else was heard");
        checks.peers.entry(index).or_default().insert(NodeId(2), 9);
        assert_eq!(checks.verdict(index, 3), Verdict::Undecided, "one against one");
        checks.peers.entry(index).or_default().insert(NodeId(3), 1);
        assert_eq!(checks.verdict(index, 3), Verdict::Confirmed);
        checks.peers.entry(index).or_default().insert(NodeId(3), 9);
        assert_eq!(checks.verdict(index, 3), Verdict::Outvoted { own: 1, majority: 9 });
        checks.own.insert(index, 9);
        assert_eq!(checks.verdict(index, 3), Verdict::Confirmed);
        assert_eq!(checks.verdict(index, 7), Verdict::Unknown, "three of seven, and none against it");
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
