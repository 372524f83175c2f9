//! The write-ahead log of all groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruvector_protocol::{Entry, GroupId, HardState, Index, SnapshotMeta, Write};

use crate::disk::Disk;
use crate::error::StorageError;

/// How the log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Size of a segment file, in bytes.
    pub segment_bytes: u64,
    /// How many used segments are kept to be used again.
    pub recycled_segments_max: usize,
}

/// What the log holds of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The newest durable hard state.
    pub hard_state: HardState,
    /// The snapshot the log begins behind; at index 0 it only carries the first membership.
    pub base: SnapshotMeta,
    /// All entries behind it, consecutive.
    pub entries: Vec<Entry>,
}

/// The write-ahead log of all groups of a node.
#[derive(Debug)]
pub struct LogStore {}

impl LogStore {
    /// Opens the log, repairing a torn tail, and returns what it holds of each group.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if anything but the tail is damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogOptions,
    ) -> Result<(Self, BTreeMap<GroupId, RecoveredGroup>), StorageError> {
        let _ = (disk, options);
        todo!()
    }

    /// Writes, not yet durable: [`sync`](Self::sync) makes it so. A group's first write must carry a
    /// snapshot (at index 0, with the first membership).
    ///
    /// # Errors
    /// If the disk refuses; the log then refuses everything from then on.
    pub fn append(&mut self, write: &Write) -> Result<(), StorageError> {
        let _ = write;
        todo!()
    }

    /// Makes everything appended durable, with one sync unless a segment ended in between; with none if
    /// nothing was appended.
    ///
    /// # Errors
    /// If the disk refuses; the log then refuses everything from then on.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        todo!()
    }

    /// Entries `from..=through` of a group, as many as fit `bytes_max` but at least one; empty if `from` is
    /// not behind the group's base or beyond its end.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if what is read back fails its checksum.
    pub fn read(
        &self,
        group: GroupId,
        from: Index,
        through: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let _ = (group, from, through, bytes_max);
        todo!()
    }

    /// The group's log now begins behind `base`: entries up to and with it may be forgotten; those behind
    /// it stay. Durable with the next [`sync`](Self::sync); segments that nobody needs are recycled then.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn compact(&mut self, group: GroupId, base: &SnapshotMeta) -> Result<(), StorageError> {
        let _ = (group, base);
        todo!()
    }

    /// First and last index held of a group: `(base + 1, last)`.
    #[must_use]
    pub fn bounds(&self, group: GroupId) -> Option<(Index, Index)> {
        let _ = group;
        todo!()
    }

    /// Bytes of all segment files, recycled ones included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }

    /// Bytes of entries appended to a group since its base, for deciding when a snapshot is due.
    #[must_use]
    pub fn group_bytes(&self, group: GroupId) -> u64 {
        let _ = group;
        todo!()
    }

    /// How many syncs have been done.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        todo!()
    }
}
