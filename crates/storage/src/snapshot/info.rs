//! What snapshot files say of themselves.

use ruvector_protocol::{GroupId, SnapshotMeta};

use super::format::{Header, Trailer};
use super::name;
use crate::disk::DiskFile;
use crate::error::StorageError;

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

/// What a file says of itself, whosever it is, if its header and trailer are whole.
pub(super) fn info_of(
    file: &dyn DiskFile,
    path: &str,
    name: &str,
) -> Result<(Header, SnapshotInfo), StorageError> {
    let file_bytes = file.size().map_err(StorageError::io("reading the size of", path))?;
    let (header, header_bytes, _) = Header::read(file, path, file_bytes)?;
    Trailer::read(file, path, file_bytes, header_bytes)?;
    let (group, meta) = (header.group, header.meta.clone());
    let automatic = name::is_automatic(name);
    Ok((header, SnapshotInfo { name: name.to_owned(), group, meta, file_bytes, automatic }))
}
