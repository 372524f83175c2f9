//! What a node answers, in this crate's types.

use std::fmt;
use std::time::Duration;

use ruvector_api::ruvector::v1 as pb;

use crate::error::ClientError;
use crate::keys::KeyValue;

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

impl fmt::Display for ReadLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Strong => "strong",
            Self::Lease => "lease",
            Self::Stale(_) => "stale",
        })
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
