//! What a replica shows of itself.

use std::collections::BTreeMap;

use crate::types::{Index, LogPosition, Membership, NodeId, Term, Timestamp};

/// What a replica does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Its data directory is new: it follows, and neither votes nor counts until it may.
    Newcomer,
}

/// A leader's view of one follower, for status displays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The follower.
    pub node: NodeId,
    /// The last index known to match.
    pub matched: Index,
    /// What it last said to have committed; `None` if it was not heard in this term.
    pub commit: Option<LogPosition>,
    /// Since when it is heard and where its log parts from the leader's is not found; `None` if it is not looked for. It is
    /// found in a moment when all is well.
    pub unmatched_since: Option<Timestamp>,
    /// `probe`, `replicate` or `snapshot`.
    pub state: &'static str,
    /// When it was last heard.
    pub heard_at: Option<Timestamp>,
    /// Its data directory is new, and it does not count yet.
    pub is_newcomer: bool,
}

/// What a leader has taken in and is not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderQueues {
    /// Bytes of entries that are not committed, and of proposals that will be; bounded by
    /// [`Config::uncommitted_bytes_max`](super::Config).
    pub uncommitted_bytes: usize,
    /// How many proposals have not come into its log yet.
    pub gathered: usize,
    /// Bytes of entries under way to the follower with the most of them; bounded by
    /// [`Config::inflight_bytes_max`](super::Config) and the append that reaches it.
    pub inflight_bytes: usize,
}

/// A copy of what there is to know of a replica, for status displays and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    /// What it does.
    pub role: RoleName,
    /// The current term.
    pub term: Term,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Who got its vote in this term.
    pub voted_for: Option<NodeId>,
    /// The committed index.
    pub commit: Index,
    /// Handed to the state machine and answered.
    pub applied: Index,
    /// Where the log ends.
    pub last: LogPosition,
    /// Where the log begins: the snapshot it lies behind.
    pub base: LogPosition,
    /// Who takes part.
    pub membership: Membership,
    /// The followers, if it leads.
    pub followers: Vec<FollowerStatus>,
    /// Followers that had committed what this replica did not have when it led, and what that was. They have not said
    /// anything else since.
    pub contradicted_by: BTreeMap<NodeId, LogPosition>,
    /// The members that a newcomer has not heard since it started. If there are none, it has yet to catch up with
    /// a leader.
    pub unheard: Vec<NodeId>,
}
