//! Names of snapshots and of their files.

use std::io;

use ruvector_protocol::{GroupId, SnapshotMeta};

use crate::error::StorageError;

/// The directory of the snapshots.
pub(super) const DIRECTORY: &str = "snapshots";

const SUFFIX: &str = ".snapshot";
const TEMPORARY_SUFFIX: &str = ".tmp";
const AUTOMATIC_PREFIX: &str = "auto-";
const NAME_BYTES_MAX: usize = 100;

/// The name that the node gives its own snapshot of a position.
pub(super) fn automatic(group: GroupId, meta: &SnapshotMeta) -> String {
    let position = meta.position;
    format!("{AUTOMATIC_PREFIX}{group}-{}-{}", position.term, position.index)
}

pub(super) fn is_automatic(name: &str) -> bool {
    name.starts_with(AUTOMATIC_PREFIX)
}

/// The path of a snapshot's file.
///
/// # Errors
/// If the name is not a plain one.
pub(super) fn file(name: &str) -> Result<String, StorageError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(plain) {
        let what = format!(
            "a snapshot's name has 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.', and no '.' in front"
        );
        return Err(refuse(name, io::ErrorKind::InvalidInput, what));
    }
    Ok(format!("{DIRECTORY}/{name}{SUFFIX}"))
}

/// The path that a file has until it is complete.
pub(super) fn temporary(number: u64) -> String {
    format!("{DIRECTORY}/{number}{TEMPORARY_SUFFIX}")
}

/// The snapshot that a file of the directory is of.
pub(super) fn of_file(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(SUFFIX)
}

pub(super) fn is_temporary(file_name: &str) -> bool {
    file_name.ends_with(TEMPORARY_SUFFIX)
}

/// The error for a name that can't be used.
pub(super) fn refuse(name: &str, kind: io::ErrorKind, what: String) -> StorageError {
    StorageError::Io {
        action: "naming",
        file: format!("snapshot {name:?}"),
        source: io::Error::new(kind, what),
    }
}
