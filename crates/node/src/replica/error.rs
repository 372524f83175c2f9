//! Why a replica stops.

use ruvector_protocol::{Contradiction, Incarnation, Index, NodeId};
use ruvector_storage::StorageError;

/// Why a replica can't go on: its process must stop.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The disk failed or holds something else than was written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A snapshot could not be restored.
    #[error("snapshot {name}: {source}")]
    Restore {
        /// The snapshot's name.
        name: String,
        /// What is wrong with it.
        source: ruvector_state_machine::RestoreError,
    },
    /// An earlier start of this node, on a disk that is gone, had a higher number than this one.
    #[error(
        "this node's data directory is new, and the cluster knows a later start of it ({}, this one is {}; on a new \
         data directory they are milliseconds since 1970): the clock of this machine was set back; set it right \
         and start the node again", by.0, own.0
    )]
    IncarnationSuperseded {
        /// This start's number.
        own: Incarnation,
        /// The higher one.
        by: Incarnation,
    },
    /// The log lacks entries that this replica had acknowledged.
    #[error(
        "this node had acknowledged entries through index {acknowledged}, and its log ends at {last}: its disk has \
         lost writes, or its data directory was replaced by an older copy; going on could lose data that clients \
         were promised; move the data directory away and start the node again: it gets everything from its peers"
    )]
    EntriesLost {
        /// What was acknowledged, at least.
        acknowledged: Index,
        /// Where the log ends.
        last: Index,
    },
    /// The leader does not have what is committed here.
    #[error(
        "{contradiction} (the leader is node {:x}): a disk has lost durable writes, or a data directory was replaced by an \
         older copy, the leader's or another's; this data directory may hold acknowledged writes that no other has: keep a \
         copy of it, then either give up what only it holds (move it away and start this node with an empty one) or \
         what the others did since (stop them and make the cluster again from this node's data); OPERATIONS.md says how",
        leader.0
    )]
    Contradicted {
        /// Who leads.
        leader: NodeId,
        /// What can't both be true.
        contradiction: Contradiction,
    },
    /// A majority of the replicas agree on a state that is not this one's.
    #[error(
        "this replica's state at index {index} has hash {own:032x}, but a majority has {majority:032x}: \
         its state is damaged; stop it, move its data directory away and let it catch up from its peers"
    )]
    Diverged {
        /// The index compared at.
        index: Index,
        /// This replica's hash.
        own: u128,
        /// The others'.
        majority: u128,
    },
}
