//! What a node keeps on disk: the log of all its groups, their hard state, snapshot files and the node's
//! identity, all behind one small [`Disk`] trait with a real and a simulated implementation.
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
pub mod snapshot;

pub use directory::{DirectoryLock, Identity, MemberAddress};
pub use disk::simulated::{Crash, SimulatedDisk};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::StorageError;
pub use log::{LogOptions, LogStore, RecoveredGroup};
pub use snapshot::{SnapshotInfo, SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter};
