//! Arithmetic of majorities: what a quorum agrees on. Pure functions, each with a naive twin in its tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::NodeId;

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteResult {
    /// A quorum said yes.
    Won,
    /// So many said no that no quorum can say yes any more.
    Lost,
    /// Neither yet.
    Open,
}

/// How many of `voter_count` voters are a majority.
pub(crate) fn quorum_size(voter_count: usize) -> usize {
    voter_count / 2 + 1
}

/// Whether `nodes`, each named once, are a majority of the voters; nodes that are no voters don't count.
pub(crate) fn is_quorum(voters: &BTreeSet<NodeId>, nodes: &[NodeId]) -> bool {
    nodes.iter().filter(|node| voters.contains(node)).count() >= quorum_size(voters.len())
}

/// The highest value that a majority of voters has reached, given every voter's own value. For matched
/// indexes this is what may be committed (Raft thesis section 3.6.2); for the times at which followers
/// were heard, the time at which a quorum was last heard. The type's lowest value if there is no voter.
pub(crate) fn reached_by_quorum<T: Ord + Copy + Default>(values: impl Iterator<Item = T>) -> T {
    let mut descending: Vec<T> = values.collect();
    descending.sort_unstable_by(|left, right| right.cmp(left));
    descending.get(quorum_size(descending.len()) - 1).copied().unwrap_or_default()
}

/// How an election stands; votes of nodes that are no voters don't count.
pub(crate) fn vote_result(voters: &BTreeSet<NodeId>, votes: &BTreeMap<NodeId, bool>) -> VoteResult {
    let quorum = quorum_size(voters.len());
    let count = |wanted: bool| voters.iter().filter(|voter| votes.get(voter) == Some(&wanted)).count();
    if count(true) >= quorum {
        VoteResult::Won
    } else if count(false) > voters.len().saturating_sub(quorum) {
        VoteResult::Lost
    } else {
        VoteResult::Open
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every subset of `0..count`, as lists.
    fn subsets(count: usize) -> Vec<Vec<usize>> {
        (0..1_usize << count).map(|mask| (0..count).filter(|bit| mask & (1 << bit) != 0).collect()).collect()
    }

    /// Tries every quorum: the best of what each of them has in common.
    fn reached_by_any_quorum(values: &[u64]) -> u64 {
        subsets(values.len())
            .into_iter()
            .filter(|members| 2 * members.len() > values.len())
            .map(|members| members.iter().map(|&member| values[member]).min().unwrap())
            .max()
            .unwrap_or_default()
    }

    /// Tries every way in which the missing votes could fall.
    fn result_over_all_futures(votes: &[Option<bool>]) -> VoteResult {
        let missing: Vec<usize> = (0..votes.len()).filter(|&voter| votes[voter].is_none()).collect();
        let outcomes: Vec<bool> = subsets(missing.len())
            .into_iter()
            .map(|yes| {
                let late = yes.len();
                let cast = votes.iter().filter(|vote| **vote == Some(true)).count();
                2 * (late + cast) > votes.len()
            })
            .collect();
        match (outcomes.iter().all(|won| *won), outcomes.iter().any(|won| *won)) {
            (true, _) => VoteResult::Won,
            (false, true) => VoteResult::Open,
            (false, false) => VoteResult::Lost,
        }
    }

    proptest! {
        #[test]
        fn a_quorum_reached_what_its_slowest_member_reached(values in prop::collection::vec(0..20_u64, 0..8)) {
            prop_assert_eq!(reached_by_quorum(values.iter().copied()), reached_by_any_quorum(&values));
        }

        #[test]
        fn nodes_are_a_quorum_if_a_majority_is_among_them(
            voter_count in 1..8_usize,
            chosen in prop::collection::vec(any::<bool>(), 10),
        ) {
            let voters = (0..voter_count as u64).map(NodeId).collect();
            let nodes: Vec<NodeId> = (0..10).filter(|node| chosen[*node as usize]).map(NodeId).collect();
            let holds_majority = subsets(voter_count)
                .into_iter()
                .filter(|members| 2 * members.len() > voter_count)
                .any(|members| members.iter().all(|member| chosen[*member]));
            prop_assert_eq!(is_quorum(&voters, &nodes), holds_majority);
        }

        #[test]
        fn a_vote_is_decided_when_no_missing_vote_can_change_it(
            votes in prop::collection::vec(prop::option::of(any::<bool>()), 1..8),
            strangers in prop::collection::vec(any::<bool>(), 0..3),
        ) {
            let voters = (0..votes.len() as u64).map(NodeId).collect();
            let cast = votes
                .iter()
                .enumerate()
                .filter_map(|(voter, vote)| vote.map(|granted| (NodeId(voter as u64), granted)))
                .chain(strangers.iter().enumerate().map(|(node, granted)| (NodeId(100 + node as u64), *granted)))
                .collect();
            prop_assert_eq!(vote_result(&voters, &cast), result_over_all_futures(&votes));
        }
    }

    #[test]
    fn two_majorities_of_the_same_voters_always_meet() {
        for voter_count in 1..100 {
            assert!(2 * quorum_size(voter_count) > voter_count);
            assert!(quorum_size(voter_count) <= voter_count);
        }
    }
}
