//! Whose files these are.

use bytes::{Buf, TryGetError};
use ruvector_protocol::NodeId;

use crate::error::StorageError;

/// The node that a data directory belongs to. Every file in it says so, in bytes that its checksums cover: the files of
/// another node, or of another cluster, are whole in themselves, and to go on from them would be to take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's id.
    pub cluster_id: u64,
    /// The node's id.
    pub node: NodeId,
}

/// Bytes of an owner on disk.
pub(crate) const OWNER_BYTES: usize = 16;

impl Owner {
    pub(crate) fn encode(self) -> [u8; OWNER_BYTES] {
        let mut bytes = [0; OWNER_BYTES];
        bytes[..8].copy_from_slice(&self.cluster_id.to_le_bytes());
        bytes[8..].copy_from_slice(&self.node.0.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(input: &mut &[u8]) -> Result<Self, TryGetError> {
        Ok(Self { cluster_id: input.try_get_u64_le()?, node: NodeId(input.try_get_u64_le()?) })
    }

    /// Checks that a file which says that it is of `found` is of this owner.
    ///
    /// # Errors
    /// [`StorageError::Foreign`] if it is not.
    pub(crate) fn check(self, found: Self, file: &str, advice: &'static str) -> Result<(), StorageError> {
        if found == self {
            return Ok(());
        }
        let whose = if found.cluster_id == self.cluster_id {
            format!("another node of this cluster ({:x}, this one is {:x})", found.node.0, self.node.0)
        } else {
            format!("another cluster ({:x}, this one is {:x})", found.cluster_id, self.cluster_id)
        };
        Err(StorageError::Foreign { file: file.to_owned(), whose, advice })
    }
}
