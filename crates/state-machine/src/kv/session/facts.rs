//! What commands and sessions say of themselves.

use serde::{Deserialize, Serialize};

/// A session's id: how many were opened, counting it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// Whose a session is, as far as its node can tell clients apart: the number of sessions is bounded for each.
///
/// What it is, the one says who proposes: every replica has it from the entry that opened the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionClient(pub u128);

/// The place of a command in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InSession {
    /// The session.
    pub session: SessionId,
    /// The command's number, which a repetition keeps. Numbers may be used in any order, each for one command.
    pub sequence: u64,
    /// The client has the answers to all numbers below this, and uses none of them again.
    pub settled_below: u64,
}

/// What a session says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct SessionFacts {
    pub(in super::super) client: SessionClient,
    pub(in super::super) settled_below: u64,
    pub(in super::super) used_at_ms: u64,
}
