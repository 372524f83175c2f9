//! What a replica knows while it stands for election.

use std::collections::BTreeMap;

use crate::types::{NodeId, Timestamp, WriteId};

/// Asks whether it would be elected; its term stays as it is.
#[derive(Debug)]
pub(super) struct PreCandidate {
    /// When it gives up.
    pub(super) deadline: Timestamp,
    /// Who has answered, and whether with a vote.
    pub(super) votes: BTreeMap<NodeId, bool>,
    /// The leader's connection broke and it was not heard since: asks again soon.
    pub(super) is_leader_lost: bool,
}

/// Asks for votes in its term, once its own is durable.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The write that its own vote is in.
    pub(super) vote_write: WriteId,
    /// When it gives up; none while its own vote is not durable.
    pub(super) deadline: Option<Timestamp>,
    /// Who has answered, and whether with a vote.
    pub(super) votes: BTreeMap<NodeId, bool>,
}
