//! What a node tells of itself.

use ruvector_protocol::{ClusterTime, Entry, Index, LogPosition, NodeId, Payload, RoleName, Term};

/// A copy of everything there is to know of a node and its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// The cluster.
    pub cluster_id: u64,
    /// What it does.
    pub role: RoleName,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: Term,
    /// The committed index.
    pub commit: Index,
    /// The applied index.
    pub applied: Index,
    /// Where its log ends.
    pub last: LogPosition,
    /// The first index its log still holds.
    pub first: Index,
    /// The nodes whose votes count.
    pub voters: Vec<NodeId>,
    /// The cluster time it would stamp now, in milliseconds.
    pub cluster_time: ClusterTime,
    /// The hash of its state at the applied index.
    pub state_hash: u128,
    /// How old its state is at most, in microseconds; `None` if it never heard a leader.
    pub staleness_us: Option<u64>,
    /// Bytes of its log files.
    pub log_bytes: u64,
    /// Syncs of its log since it started.
    pub log_syncs: u64,
    /// Commands of its own clients that wait for their answer.
    pub pending_proposals: usize,
    /// How often it learned of a leader since it started: another one, or the same in a later term.
    pub leader_changes: u64,
    /// The index of its newest snapshot.
    pub snapshot: Option<Index>,
    /// The members that it has not heard yet, if its data directory is new. It neither votes nor counts before it
    /// has heard all of them and caught up.
    pub unheard: Vec<NodeId>,
    /// The index at which its state first differed from a peer's, while no majority has decided which is right.
    pub differs_at: Option<Index>,
    /// Its peers.
    pub peers: Vec<PeerStatus>,
}

/// What a node knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Whether the connection to it stands.
    pub connected: bool,
    /// On the leader: the last index known to match.
    pub matched: Option<Index>,
    /// On the leader: the index it last said to have committed.
    pub commit: Option<Index>,
    /// What it had committed that this node, as its leader, did not have.
    pub contradicts: Option<LogPosition>,
    /// On the leader: microseconds since which it is heard and its log does not match.
    pub unmatched_us: Option<u64>,
    /// On the leader: `probe`, `replicate` or `snapshot`.
    pub state: Option<&'static str>,
    /// On the leader: microseconds since it was last heard.
    pub heard_us_ago: Option<u64>,
    /// Bytes sent to it and received from it since the start.
    pub sent_bytes: u64,
    /// See `sent_bytes`.
    pub received_bytes: u64,
    /// Messages to it that were dropped.
    pub dropped_messages: u64,
}

impl NodeStatus {
    /// What a node sees that must never be: replicas that contradict each other. `None` in every healthy cluster, also while
    /// leaders change and nodes come back.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if let Some(index) = self.differs_at {
            return Some(format!(
                "its state differs from a peer's since index {index}, and no majority can tell which is right"
            ));
        }
        self.peers.iter().find_map(|peer| {
            let position = peer.contradicts?;
            Some(format!(
                "node {:x} has committed entry {} of term {}, which this node lacks as its leader: a disk has lost writes",
                peer.node.0, position.index, position.term
            ))
        })
    }
}

/// A line of `log --tail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Term and index.
    pub position: LogPosition,
    /// Its cluster time.
    pub time: ClusterTime,
    /// `noop`, `tick` or `command`.
    pub kind: &'static str,
    /// The command, empty for the others.
    pub command: bytes::Bytes,
    /// The node whose client gave it, for a command.
    pub origin: Option<NodeId>,
}

impl From<Entry> for LogRecord {
    fn from(entry: Entry) -> Self {
        let (position, time) = (entry.position(), entry.time);
        let (kind, command, origin) = match entry.payload {
            Payload::Noop => ("noop", bytes::Bytes::new(), None),
            Payload::Tick => ("tick", bytes::Bytes::new(), None),
            Payload::Command(proposal) => ("command", proposal.command, Some(proposal.origin.node)),
        };
        Self { position, time, kind, command, origin }
    }
}
