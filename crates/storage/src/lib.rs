//! What a node keeps on disk: the log of all its groups, their hard state, snapshot files and the node's
//! identity, all behind one small [`Disk`] trait with a real and a simulated implementation. Every file is bound to its
//! [`Owner`], and the log's end is known a second time outside of it, so that files which are not this node's, or not its
//! newest, are refused.
//!
//! docs/DISK_FORMAT.md draws every byte.
//!
//! What this crate does not do: it does not know what an entry's command or a snapshot's contents mean, and
//! it never decides what to delete: the replica does.

mod codec;
pub mod directory;
pub mod disk;
pub mod error;
pub mod log;
mod owner;
pub mod snapshot;

pub use directory::{DirectoryLock, GroupMembers, Identity, MemberAddress};
pub use disk::real::RealDisk;
pub use disk::simulated::{Crash, SimulatedDisk};
pub use disk::{Disk, DiskFile};
pub use error::StorageError;
pub use log::{GroupContents, LogOptions, LogStore, RecoveredGroup};
pub use owner::Owner;
pub use snapshot::{
    SnapshotInfo, SnapshotListing, SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter,
    UnusableSnapshot,
};
