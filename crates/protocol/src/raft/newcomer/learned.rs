//! What a newcomer has learned from the members.

use std::collections::BTreeMap;

use crate::types::{Index, NodeId, Timestamp};

/// What a newcomer has learned.
///
/// Invariant: `answers` are to this start of the replica, and their terms are at most the replica's own.
#[derive(Debug)]
pub(in super::super) struct Newcomer {
    /// Of each member that answered, whether its log was empty.
    pub(super) answers: BTreeMap<NodeId, bool>,
    /// The highest commit index that any answer told of.
    pub(super) target: Index,
    /// When everyone is asked again: a log that held something that was never committed may be empty by then.
    pub(super) ask_at: Timestamp,
}

impl Newcomer {
    pub(in super::super) fn new(now: Timestamp) -> Self {
        Self { answers: BTreeMap::new(), target: Index(0), ask_at: now }
    }

    pub(super) fn has_heard(&self, node: NodeId) -> bool {
        self.answers.contains_key(&node)
    }
}
