//! A node and its connections.

use serde::{Deserialize, Serialize};

use crate::group::{GroupStatus, Role};
use crate::id::{Id, Named};

/// Everything that a node knows of itself, its groups and its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeStatus {
    /// The node.
    pub node: Named,
    /// The version of its program.
    pub version: String,
    /// The cluster.
    pub cluster: Named,
    /// Where it listens for clients, `host:port`; empty if it does not.
    pub client_address: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
    /// All members of the cluster, this node among them.
    pub members: Vec<MemberStatus>,
    /// Its connections to the other members.
    pub connections: Vec<ConnectionStatus>,
    /// Bytes of its log's files, which all groups share.
    pub log_bytes: u64,
    /// Syncs of its log since it started.
    pub log_syncs: u64,
    /// The group that was asked about.
    pub group: GroupStatus,
    /// The other groups that this node is a member of.
    pub other_groups: Vec<GroupStatus>,
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemberStatus {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
    /// Where it listens for clients, `host:port`, once it told.
    pub client_address: Option<String>,
}

/// The connection to a peer, which all groups share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionStatus {
    /// The peer.
    pub peer: Named,
    /// Whether it stands.
    pub connected: bool,
    /// Bytes sent to the peer since the start.
    pub sent_bytes: u64,
    /// Bytes received from it since the start.
    pub received_bytes: u64,
    /// Messages to it that were dropped.
    pub dropped_messages: u64,
}

impl NodeStatus {
    /// All groups that the node is a member of, the one that was asked about first.
    pub fn groups(&self) -> impl Iterator<Item = &GroupStatus> {
        std::iter::once(&self.group).chain(&self.other_groups)
    }

    /// The same, to add to.
    pub fn groups_mut(&mut self) -> impl Iterator<Item = &mut GroupStatus> {
        std::iter::once(&mut self.group).chain(&mut self.other_groups)
    }

    /// Whether the node leads the group that was asked about.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.group.role == Role::Leader
    }

    /// The connection to a peer.
    #[must_use]
    pub fn connection(&self, peer: Id) -> Option<&ConnectionStatus> {
        self.connections.iter().find(|connection| connection.peer.id == peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_way_as_json() {
        let named = |id, name: &str| Named { id: Id(id), name: name.to_owned() };
        let group = GroupStatus {
            name: "shard-1".to_owned(),
            id: Id(u64::MAX),
            role: Role::PreCandidate,
            leader: Some(named(2, "node-2")),
            staleness_us: Some(5),
            ..GroupStatus::default()
        };
        let status = NodeStatus { node: named(0xab, "node-1"), group, ..NodeStatus::default() };
        let json = serde_json::to_value(&status).expect("it is JSON");
        assert_eq!(json["node"]["id"], "00000000000000ab", "a number would lose digits in other languages");
        assert_eq!(json["group"]["role"], "pre-candidate");
        assert_eq!(serde_json::from_value::<NodeStatus>(json).expect("a status"), status);
    }

    #[test]
    fn readers_and_nodes_may_be_of_different_versions() {
        let read = |json| serde_json::from_str::<NodeStatus>(json).expect("a status");
        let later =
            read(r#"{ "log_bytes": 7, "added_later": { "a": [1] }, "group": { "also": null, "term": 3 } }"#);
        assert_eq!((later.log_bytes, later.group.term), (7, 3));
        assert_eq!(read("{}"), NodeStatus::default());
    }

    #[test]
    fn an_id_that_is_none_is_refused() {
        let read = |id| serde_json::from_str::<Id>(id);
        assert_eq!(read(r#""ff""#).expect("an id"), Id(255));
        assert!(read(r#""x""#).is_err() && read("255").is_err());
    }
}
