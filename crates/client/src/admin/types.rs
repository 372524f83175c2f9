//! What a node answers, in this crate's types.

use std::fmt;
use std::time::Duration;

use ruvector_api::ruvector::v1 as pb;

use crate::error::ClientError;
use crate::keys::KeyValue;

/// Everything a node knows of itself, its group and its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub node_id: u64,
    /// Its name.
    pub node_name: String,
    /// The version of its program.
    pub version: String,
    /// The cluster's id.
    pub cluster_id: u64,
    /// The cluster's name.
    pub cluster_name: String,
    /// Where it listens for clients, `host:port`.
    pub client_address: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
    /// What it does in its group.
    pub role: Role,
    /// The leader it knows of.
    pub leader_id: Option<u64>,
    /// Its term.
    pub term: u64,
    /// The committed index.
    pub commit_index: u64,
    /// The applied index.
    pub applied_index: u64,
    /// Where its log ends.
    pub last_index: u64,
    /// The term of the last entry.
    pub last_term: u64,
    /// The first index that its log still holds.
    pub first_index: u64,
    /// The nodes whose votes count.
    pub voter_ids: Vec<u64>,
    /// Cluster time, in milliseconds.
    pub cluster_time_ms: u64,
    /// The hash of its state at the applied index.
    pub state_hash: String,
    /// How old its state is at most, in microseconds; `None` if it never heard a leader.
    pub staleness_us: Option<u64>,
    /// Bytes of its log files.
    pub log_bytes: u64,
    /// Syncs of its log since it started.
    pub log_syncs: u64,
    /// Commands of its own clients that wait for their answer.
    pub pending_proposals: u64,
    /// Leader changes it saw since it started.
    pub leader_changes: u64,
    /// The index of its newest snapshot.
    pub snapshot_index: Option<u64>,
    /// Its peers.
    pub peers: Vec<PeerStatus>,
    /// All members, this node among them.
    pub members: Vec<NodeAddress>,
    /// The store's revision.
    pub revision: i64,
    /// The revision up to which history was dropped.
    pub compacted_revision: i64,
    /// Keys in the store.
    pub key_count: u64,
    /// Bytes of the store.
    pub store_bytes: u64,
    /// Leases in the store.
    pub lease_count: u64,
    /// Changes in memory, those counted too that are compacted and not taken out yet.
    pub history_count: u64,
    /// For how long history is kept, in milliseconds; `None` for ever.
    pub retention_age_ms: Option<u64>,
    /// How many bytes of history are kept; `None` for any number.
    pub retention_bytes: Option<u64>,
    /// The members that a newcomer has not heard yet.
    pub unheard_ids: Vec<u64>,
    /// What it sees that must never be, in words; `None` if all is well.
    pub trouble: Option<String>,
    /// The index at which its state first differed from a peer's, while no majority has decided which is right.
    pub differs_at_index: Option<u64>,
    /// The group that all of this is about; what is not of a group is of the node.
    pub group_name: String,
    /// All groups that this node is a member of.
    pub groups: Vec<GroupSummary>,
}

/// A group, as one of its members sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// What the node sees in it that must never be, in words; `None` if all is well.
    pub trouble: Option<String>,
    /// What the node does in it.
    pub role: Role,
    /// The leader that the node knows of.
    pub leader_id: Option<u64>,
    /// Its term.
    pub term: u64,
    /// The committed index.
    pub commit_index: u64,
    /// The applied index.
    pub applied_index: u64,
    /// The nodes whose votes count.
    pub voter_ids: Vec<u64>,
    /// Its store's revision.
    pub revision: i64,
    /// Keys in its store.
    pub key_count: u64,
    /// Bytes of its store.
    pub store_bytes: u64,
}

/// What a node does in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// A member as a node's status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its id.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
    /// Where it listens for clients, `host:port`, once it told.
    pub client_address: Option<String>,
}

/// What a node knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its id.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// Whether the connection to it stands.
    pub connected: bool,
    /// On the leader: the last index known to match.
    pub matched_index: Option<u64>,
    /// On the leader: `probe`, `replicate` or `snapshot`.
    pub state: Option<String>,
    /// On the leader: microseconds since it was last heard.
    pub heard_us_ago: Option<u64>,
    /// Messages to it that were dropped.
    pub dropped_messages: u64,
    /// On the leader: the index it last said to have committed.
    pub commit_index: Option<u64>,
    /// The index of what it had committed and the node that tells this, as its leader, did not have.
    pub contradicts_index: Option<u64>,
    /// On the leader: microseconds since which it is heard and its log does not match.
    pub unmatched_us: Option<u64>,
}

/// An entry of a node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Cluster time, in milliseconds.
    pub time_ms: u64,
    /// `noop`, `tick` or `command`.
    pub kind: String,
    /// What the command does, in one line; empty for other kinds.
    pub description: String,
    /// Size of the command.
    pub command_bytes: u64,
    /// The node whose client gave the command.
    pub origin_id: Option<u64>,
}

/// A snapshot of a node's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// The last entry whose effect it holds.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Cluster time of that entry, in milliseconds.
    pub time_ms: u64,
    /// Size of its file.
    pub file_bytes: u64,
    /// Made by the node for its own use, and removed by it when a newer one exists.
    pub automatic: bool,
    /// Why it can't be used, and what to do about it. Then nothing but its name and who made it is known, and all numbers
    /// are 0.
    pub damage: Option<String>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// Linearizable: a quorum confirms the leader after the read arrived.
    Strong,
    /// Linearizable as long as clocks drift no more than configured: the leader's lease is trusted.
    Lease,
    /// The answering node's own state, refused if it may be older than this.
    Stale(Option<Duration>),
}

/// What a read of one key gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// `None` if the key does not exist.
    pub key_value: Option<KeyValue>,
    /// The level that was served.
    pub level: ReadLevel,
    /// For a stale read: how old the state was at most, if the node can tell.
    pub staleness: Option<Duration>,
    /// The entry that the answer is the state after.
    pub applied_index: u64,
    /// The store's revision.
    pub revision: i64,
    /// The name of the node that answered.
    pub node_name: String,
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

impl fmt::Display for ReadLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Strong => "strong",
            Self::Lease => "lease",
            Self::Stale(_) => "stale",
        })
    }
}

impl From<pb::Role> for Role {
    fn from(role: pb::Role) -> Self {
        match role {
            pb::Role::Unspecified | pb::Role::Follower => Self::Follower,
            pb::Role::PreCandidate => Self::PreCandidate,
            pb::Role::Candidate => Self::Candidate,
            pb::Role::Leader => Self::Leader,
            pb::Role::Newcomer => Self::Newcomer,
        }
    }
}

impl From<pb::StatusResponse> for NodeStatus {
    fn from(status: pb::StatusResponse) -> Self {
        Self {
            role: status.role().into(),
            node_id: status.node_id,
            node_name: status.node_name,
            version: status.version,
            cluster_id: status.cluster_id,
            cluster_name: status.cluster_name,
            client_address: status.client_address,
            peer_address: status.peer_address,
            leader_id: status.leader_id,
            term: status.term,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            last_index: status.last_index,
            last_term: status.last_term,
            first_index: status.first_index,
            voter_ids: status.voter_ids,
            cluster_time_ms: status.cluster_time_ms,
            state_hash: status.state_hash,
            staleness_us: status.staleness_us,
            log_bytes: status.log_bytes,
            log_syncs: status.log_syncs,
            pending_proposals: status.pending_proposals,
            leader_changes: status.leader_changes,
            snapshot_index: status.snapshot_index,
            peers: status.peers.into_iter().map(Into::into).collect(),
            members: status.members.into_iter().map(Into::into).collect(),
            revision: status.revision,
            compacted_revision: status.compacted_revision,
            key_count: status.key_count,
            store_bytes: status.store_bytes,
            lease_count: status.lease_count,
            history_count: status.history_count,
            retention_age_ms: status.retention_age_ms,
            retention_bytes: status.retention_bytes,
            unheard_ids: status.unheard_ids,
            trouble: status.trouble,
            differs_at_index: status.differs_at_index,
            group_name: status.group_name,
            groups: status.groups.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<pb::GroupSummary> for GroupSummary {
    fn from(group: pb::GroupSummary) -> Self {
        Self {
            role: group.role().into(),
            name: group.name,
            id: group.id,
            trouble: group.trouble,
            leader_id: group.leader_id,
            term: group.term,
            commit_index: group.commit_index,
            applied_index: group.applied_index,
            voter_ids: group.voter_ids,
            revision: group.revision,
            key_count: group.key_count,
            store_bytes: group.store_bytes,
        }
    }
}

impl From<pb::Member> for NodeAddress {
    fn from(member: pb::Member) -> Self {
        Self {
            node_id: member.node_id,
            name: member.name,
            peer_address: member.peer_address,
            client_address: member.client_address.filter(|address| !address.is_empty()),
        }
    }
}

impl From<pb::PeerStatus> for PeerStatus {
    fn from(peer: pb::PeerStatus) -> Self {
        Self {
            node_id: peer.node_id,
            name: peer.name,
            connected: peer.connected,
            matched_index: peer.matched_index,
            state: peer.state,
            heard_us_ago: peer.heard_us_ago,
            dropped_messages: peer.dropped_messages,
            commit_index: peer.commit_index,
            contradicts_index: peer.contradicts_index,
            unmatched_us: peer.unmatched_us,
        }
    }
}

impl From<pb::LogEntry> for LogEntry {
    fn from(entry: pb::LogEntry) -> Self {
        Self {
            index: entry.index,
            term: entry.term,
            time_ms: entry.time_ms,
            kind: entry.kind,
            description: entry.description,
            command_bytes: entry.command_bytes,
            origin_id: entry.origin_id,
        }
    }
}

impl From<pb::Snapshot> for Snapshot {
    fn from(snapshot: pb::Snapshot) -> Self {
        Self {
            name: snapshot.name,
            index: snapshot.index,
            term: snapshot.term,
            time_ms: snapshot.time_ms,
            file_bytes: snapshot.file_bytes,
            automatic: snapshot.automatic,
            damage: Some(snapshot.damage).filter(|damage| !damage.is_empty()),
        }
    }
}

impl TryFrom<pb::ReadResponse> for ReadAnswer {
    type Error = ClientError;

    fn try_from(response: pb::ReadResponse) -> Result<Self, ClientError> {
        let level = match response.level() {
            pb::ReadLevel::Strong => ReadLevel::Strong,
            pb::ReadLevel::Lease => ReadLevel::Lease,
            pb::ReadLevel::Stale => ReadLevel::Stale(None),
            pb::ReadLevel::Unspecified => {
                return Err(ClientError::Malformed { reason: "the level served is missing".to_owned() });
            }
        };
        Ok(Self {
            key_value: response.kv.map(Into::into),
            level,
            staleness: response.staleness_us.map(Duration::from_micros),
            applied_index: response.applied_index,
            revision: response.revision,
            node_name: response.node_name,
        })
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
