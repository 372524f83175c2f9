//! Snapshot files: a header, checksummed chunks of contents, a trailer.

mod format;
mod info;
mod name;
mod reader;
mod receiver;
mod store;
mod unfinished;
mod writer;

pub use info::{SnapshotInfo, SnapshotListing, UnusableSnapshot};
pub use reader::SnapshotReader;
pub use receiver::SnapshotReceiver;
pub use store::SnapshotStore;
pub use writer::SnapshotWriter;
