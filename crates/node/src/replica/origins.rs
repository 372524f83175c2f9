//! Applied at most once: what is remembered of the proposals that were applied.

use std::collections::{BTreeMap, VecDeque};

use ruvector_protocol::{Incarnation, NodeId, Origin};
use serde::{Deserialize, Serialize};

/// Which proposals were applied, by the node that they came from. Part of the replicated state: it changes
/// only by applied entries and travels in snapshots.
///
/// It stays small because every proposal tells which sequences its origin will never propose again.
///
/// Invariant: `hash` is the sum of the hashes of all that is in `nodes`, whatever came before. So replicas that applied
/// the same have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginWindow {
    nodes: BTreeMap<NodeId, NodeWindow>,
    /// The sum of the hashes of what is in `nodes`.
    hash: u64,
}

/// Of one node, its newest start. Invariants: all of `applied` is at or above `settled_below`, and rises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NodeWindow {
    incarnation: Incarnation,
    settled_below: u64,
    /// Hardly ever anything but a new one comes in, behind the others, and only the first are taken out.
    applied: VecDeque<u64>,
}

impl OriginWindow {
    /// Whether a proposal is to be applied now: it was not before, and its origin still wants it to be.
    pub(super) fn admit(&mut self, origin: &Origin) -> bool {
        let window = self.nodes.entry(origin.node).or_default();
        if origin.incarnation < window.incarnation {
            return false;
        }
        if origin.incarnation > window.incarnation {
            for sequence in std::mem::take(&mut window.applied) {
                self.hash = self.hash.wrapping_sub(hash_of(origin.node, window.incarnation, sequence));
            }
            *window = NodeWindow { incarnation: origin.incarnation, ..NodeWindow::default() };
        }
        while let Some(&first) = window.applied.front()
            && first < origin.settled_below
        {
            window.applied.pop_front();
            self.hash = self.hash.wrapping_sub(hash_of(origin.node, window.incarnation, first));
        }
        window.settled_below = window.settled_below.max(origin.settled_below);
        if origin.sequence < window.settled_below || !window.remember(origin.sequence) {
            return false;
        }
        self.hash = self.hash.wrapping_add(hash_of(origin.node, window.incarnation, origin.sequence));
        true
    }

    /// Sees that what is said of the types holds. Costs as much as is remembered.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(super) fn check_invariants(&self) {
        let mut hash = 0_u64;
        for (node, NodeWindow { incarnation, settled_below, applied }) in &self.nodes {
            let is_rising = applied.iter().is_sorted_by(|a, b| a < b);
            assert!(is_rising, "sequences of {node:?} out of order: {applied:?}");
            let first = applied.front();
            let is_open = first.is_none_or(|first| first >= settled_below);
            assert!(is_open, "{first:?} of {node:?} is remembered, and all below {settled_below} is settled");
            hash = applied
                .iter()
                .fold(hash, |hash, &sequence| hash.wrapping_add(hash_of(*node, *incarnation, sequence)));
        }
        assert_eq!(self.hash, hash, "the hash of what is remembered");
    }

    /// A hash of the contents, in O(1).
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

impl NodeWindow {
    /// Whether it was not remembered before.
    fn remember(&mut self, sequence: u64) -> bool {
        if self.applied.back().is_none_or(|newest| *newest < sequence) {
            self.applied.push_back(sequence);
            return true;
        }
        debug_assert!(self.applied.iter().is_sorted(), "{:?} is searched by halves", self.applied);
        let place = self.applied.binary_search(&sequence);
        place.inspect_err(|place| self.applied.insert(*place, sequence)).is_err()
    }
}

/// Mixes the three numbers (the finalizer of SplitMix64, applied in turn).
fn hash_of(node: NodeId, incarnation: Incarnation, sequence: u64) -> u64 {
    [node.0, incarnation.0, sequence].into_iter().fold(0x9e37_79b9_7f4a_7c15, |state, number| {
        let mut mixed = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(incarnation: u64, sequence: u64, settled_below: u64) -> Origin {
        Origin { node: NodeId(1), incarnation: Incarnation(incarnation), sequence, settled_below }
    }

    #[test]
    fn a_retry_is_not_applied_again() {
        let mut window = OriginWindow::default();
        assert!(window.admit(&origin(1, 1, 1)));
        assert!(!window.admit(&origin(1, 1, 1)));
        assert!(window.admit(&origin(1, 3, 1)), "out of order is fine");
        assert!(window.admit(&origin(1, 2, 1)));
        assert!(!window.admit(&origin(1, 3, 2)));
    }

    #[test]
    fn what_the_origin_gave_up_is_never_applied() {
        let mut window = OriginWindow::default();
        assert!(window.admit(&origin(1, 9, 9)));
        assert!(!window.admit(&origin(1, 5, 1)), "a delayed proposal whose caller was told it is unknown");
    }

    #[test]
    fn an_older_start_of_the_node_is_refused_and_forgotten() {
        let mut window = OriginWindow::default();
        assert!(window.admit(&origin(1, 7, 1)));
        assert!(window.admit(&origin(2, 1, 1)));
        assert!(!window.admit(&origin(1, 8, 1)));
        let mut fresh = OriginWindow::default();
        assert!(fresh.admit(&origin(2, 1, 1)));
        assert_eq!(window.hash(), fresh.hash(), "the hash is that of the contents, whatever came before");
    }

    #[test]
    fn settled_sequences_take_no_memory() {
        let mut window = OriginWindow::default();
        for sequence in 1..=10_000 {
            assert!(window.admit(&origin(1, sequence, sequence.saturating_sub(10).max(1))));
        }
        assert!(window.nodes[&NodeId(1)].applied.len() <= 11);
    }
}
