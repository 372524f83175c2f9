//! What nodes say to each other: what the cores of their replicas do, and what the replicas around those do.
//!
//! It is defined here because the transport encodes it and every receiver gets it from there. What it means is the
//! replicas' business.

use bytes::Bytes;
use ruvector_protocol::{Envelope, GroupId, Index, LogPosition, NodeId, SnapshotMeta, Term};
use serde::{Deserialize, Serialize};

/// Everything that travels between two nodes: of one group, from one of its replicas to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// From core to core.
    Consensus(Envelope),
    /// From replica to replica; the cores hear nothing of it.
    Replica(ReplicaEnvelope),
}

/// What a replica says beside consensus, with its address. It has no term: a message that may only count in a certain
/// one says so itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaEnvelope {
    /// The group it belongs to.
    pub group: GroupId,
    /// The node that sent it.
    pub from: NodeId,
    /// The node it is for.
    pub to: NodeId,
    /// What it says.
    pub message: ReplicaMessage,
}

/// What replicas say to each other beside consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaMessage {
    /// A piece of a snapshot file.
    SnapshotChunk(SnapshotChunk),
    /// The answer to it.
    SnapshotChunkResponse(SnapshotChunkResponse),
    /// The sender's hash of its state at an index, to be compared.
    StateHash(StateHash),
}

/// A piece of a snapshot file, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The sender's term when it sent this. Only the leader of the receiver's term, or of a later one, may replace the
    /// receiver's state: another may lack what is committed.
    pub term: Term,
    /// What the snapshot stands for.
    pub meta: SnapshotMeta,
    /// Size of the whole file, in bytes.
    pub total_bytes: u64,
    /// Where in the file `data` belongs.
    pub offset: u64,
    /// The bytes, never more than the sender's chunk limit.
    pub data: Bytes,
}

/// Acknowledges a [`SnapshotChunk`]. Good in any term: what a file holds does not depend on who sends it, and a sender
/// that leads no more has no transfers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunkResponse {
    /// The snapshot spoken of.
    pub position: LogPosition,
    /// The next byte that the receiver wants; equal to the file's size when it has all. A sender that is
    /// elsewhere starts again from here.
    pub next_offset: u64,
}

/// The hash of a replica's state at an index. Good in any term: what is applied at an index is committed, and the same
/// everywhere and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    /// The applied index that the hash belongs to.
    pub index: Index,
    /// The hash of the contents.
    pub hash: u128,
}

/// What the encoding says of a message's kind before its envelope, in bytes.
const KIND_BYTES: usize = 1;
/// What a replica's message has beside members and data, with its envelope, at most, in bytes.
const FIXED_BYTES_MAX: usize = 128;
/// What the encoding of a member in a membership has, at most, in bytes.
const MEMBER_BYTES_MAX: usize = 10;

impl PeerMessage {
    /// The group it belongs to.
    #[must_use]
    pub fn group(&self) -> GroupId {
        match self {
            Self::Consensus(envelope) => envelope.group,
            Self::Replica(envelope) => envelope.group,
        }
    }

    /// The node that sent it.
    #[must_use]
    pub fn from(&self) -> NodeId {
        match self {
            Self::Consensus(envelope) => envelope.from,
            Self::Replica(envelope) => envelope.from,
        }
    }

    /// The node it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        match self {
            Self::Consensus(envelope) => envelope.to,
            Self::Replica(envelope) => envelope.to,
        }
    }

    /// How many bytes its encoding has at most. The transport takes none that is larger than
    /// [`FRAME_BYTES_MAX`](crate::FRAME_BYTES_MAX), so none may be made.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        KIND_BYTES
            + match self {
                Self::Consensus(envelope) => envelope.message.encoded_bytes_max(),
                Self::Replica(envelope) => FIXED_BYTES_MAX + envelope.message.variable_bytes_max(),
            }
    }
}

impl ReplicaMessage {
    /// What the encoding has beside [`FIXED_BYTES_MAX`].
    fn variable_bytes_max(&self) -> usize {
        match self {
            Self::SnapshotChunk(chunk) => {
                chunk.meta.membership.voters.len() * MEMBER_BYTES_MAX + chunk.data.len()
            }
            Self::SnapshotChunkResponse(_) | Self::StateHash(_) => 0,
        }
    }
}
