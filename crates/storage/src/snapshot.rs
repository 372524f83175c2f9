//! Snapshot files: a header, checksummed chunks of contents, a trailer.

use ruvector_protocol::{GroupId, SnapshotMeta};

use crate::error::StorageError;

mod format;
mod name;
mod reader;
mod receiver;
mod store;
mod writer;

pub use reader::SnapshotReader;
pub use receiver::SnapshotReceiver;
pub use store::SnapshotStore;
pub use writer::SnapshotWriter;

/// What snapshot files there are.
#[derive(Debug, Default)]
pub struct SnapshotListing {
    /// Those that can be used, by group and position.
    pub usable: Vec<SnapshotInfo>,
    /// Those that can't, by name.
    pub unusable: Vec<UnusableSnapshot>,
}

/// A snapshot file that can't be used.
#[derive(Debug)]
pub struct UnusableSnapshot {
    /// Its name.
    pub name: String,
    /// Made by the node for its own use, by its name.
    pub automatic: bool,
    /// Why, and what to do about it.
    pub error: StorageError,
}

/// A complete snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name, unique in the store.
    pub name: String,
    /// The group it is of.
    pub group: GroupId,
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// Size of the file.
    pub file_bytes: u64,
    /// Made by the node for its own use, and removed by it when a newer one exists.
    pub automatic: bool,
}
