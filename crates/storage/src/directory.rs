//! The data directory: the exclusive lock on it and the node's identity in it.

use std::path::Path;

use ruvector_protocol::{Incarnation, NodeId};

use crate::disk::Disk;
use crate::error::StorageError;

/// Who this node is, which cluster it belongs to and where its peers were said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster_name: String,
    /// The cluster's id, derived from its name and first members.
    pub cluster_id: u64,
    /// This node's name.
    pub node_name: String,
    /// This node's id.
    pub node_id: NodeId,
    /// All members, this node among them, by id.
    pub members: Vec<MemberAddress>,
    /// Which start of the node this is: 1 at first.
    pub incarnation: Incarnation,
}

/// A member as the identity file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it listens for peers, `host:port`.
    pub peer_address: String,
}

impl Identity {
    /// Reads the identity, if there is one.
    ///
    /// # Errors
    /// If it can't be read or is damaged.
    pub fn read(disk: &dyn Disk) -> Result<Option<Self>, StorageError> {
        let _ = disk;
        todo!()
    }

    /// Writes the identity durably, replacing the one before.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        let _ = disk;
        todo!()
    }
}

/// The exclusive use of a data directory, released when dropped or when the process ends.
#[derive(Debug)]
pub struct DirectoryLock {}

impl DirectoryLock {
    /// Makes the directory if need be and locks it (`flock`).
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process holds it.
    pub fn acquire(path: &Path) -> Result<Self, StorageError> {
        let _ = path;
        todo!()
    }
}
