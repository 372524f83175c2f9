//! A group, as one of its members sees it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Id, Named};

/// What a node knows of a group that it is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupStatus {
    /// The group's name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// What the node sees that must never be, in words: replicas that contradict each other. Null in every healthy group, also
    /// while leaders change and nodes come back.
    pub trouble: Option<String>,
    /// What the node does in it.
    pub role: Role,
    /// The leader that the node knows of.
    pub leader: Option<Named>,
    /// Its term.
    pub term: u64,
    /// The index up to which entries are committed.
    pub commit_index: u64,
    /// The index up to which entries are applied.
    pub applied_index: u64,
    /// The first entry that the log still holds.
    pub first_index: u64,
    /// The last entry of the log.
    pub last_index: u64,
    /// The term of the last entry.
    pub last_term: u64,
    /// The nodes whose votes count.
    pub voters: Vec<Named>,
    /// Cluster time, in milliseconds since 1970.
    pub cluster_time_ms: u64,
    /// The hash of the state at the applied index, 32 hexadecimal digits.
    pub state_hash: String,
    /// How old the state is at most, in microseconds; null if the node never heard a leader.
    pub staleness_us: Option<u64>,
    /// Commands of the node's own clients that wait for their answer.
    pub pending_proposals: u64,
    /// How often the node learned of a leader since it started: another one, or the same in a later term.
    pub leader_changes: u64,
    /// The index of its newest snapshot.
    pub snapshot_index: Option<u64>,
    /// The members that the node has not heard yet, if its data directory is new. It neither votes nor counts before it has heard
    /// all of them and caught up.
    pub unheard: Vec<Named>,
    /// The index at which the state first differed from a peer's, while no majority has decided which is right.
    pub differs_at_index: Option<u64>,
    /// The other members of the group.
    pub peers: Vec<PeerStatus>,
    /// The store, if the group's state is one.
    pub store: Option<StoreStatus>,
}

/// What a node knows of another member of a group. All but `contradicts_index` is known by the leader alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerStatus {
    /// The member.
    pub peer: Named,
    /// The last entry that is known to match.
    pub matched_index: Option<u64>,
    /// The last entry that it said to be committed.
    pub commit_index: Option<u64>,
    /// `probe`, `replicate` or `snapshot`: how entries reach it.
    pub state: Option<String>,
    /// Microseconds since it was last heard.
    pub heard_us_ago: Option<u64>,
    /// Microseconds since which it is heard and its log does not match.
    pub unmatched_us: Option<u64>,
    /// An entry that it had committed and this node, as its leader, did not have.
    pub contradicts_index: Option<u64>,
}

/// A group's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoreStatus {
    /// Its revision.
    pub revision: i64,
    /// The revision up to which history was dropped.
    pub compacted_revision: i64,
    /// How many keys it has.
    pub key_count: u64,
    /// Bytes of keys, values and history.
    pub bytes: u64,
    /// How many leases it has.
    pub lease_count: u64,
    /// Changes in memory, those counted too that are compacted and not taken out yet.
    pub history_count: u64,
    /// How much history is kept.
    pub retention: RetentionStatus,
}

/// How much history a store keeps without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetentionStatus {
    /// For how long, in milliseconds; null for ever.
    pub age_ms: Option<u64>,
    /// How many bytes; null for any number.
    pub bytes: Option<u64>,
}

/// What a node does in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It asks whether an election would succeed.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
    /// Its data directory is new: it follows, and neither votes nor counts before it has heard every other member
    /// and caught up.
    Newcomer,
}

impl GroupStatus {
    /// The store; an empty one if the group's state is none.
    #[must_use]
    pub fn store(&self) -> StoreStatus {
        self.store.unwrap_or_default()
    }

    /// The id of the leader that the node knows of.
    #[must_use]
    pub fn leader_id(&self) -> Option<Id> {
        self.leader.as_ref().map(|leader| leader.id)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Newcomer => "newcomer",
        })
    }
}
