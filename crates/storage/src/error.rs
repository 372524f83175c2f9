//! How storage fails.

use std::io;

/// Why something could not be stored or read back.
///
/// After any error from a write or a sync the node must stop: what reached the disk is unknown, and a
/// retried `fsync` can report success for pages that were dropped.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("{action} {file}: {source}")]
    Io {
        /// What was done, as in `writing` or `syncing`.
        action: &'static str,
        /// The file, relative to the data directory.
        file: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// What was read back is not what was written.
    #[error("{file} is damaged at byte {offset}: {what}; {advice}")]
    Corrupt {
        /// The file, relative to the data directory.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another process uses the data directory.
    #[error("data directory {0} is in use by another process")]
    Locked(String),
    /// The directory belongs to another cluster or node, or was written by a newer version.
    #[error("{0}")]
    Mismatch(String),
}

impl StorageError {
    /// Wraps an error of the operating system, as in `.map_err(StorageError::io("writing", name))`.
    pub(crate) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { action, file, source }
    }

    /// Whether the disk is full: nothing acknowledged is lost, and the node can be started again once there
    /// is space.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Corrupt { .. } | Self::Locked(_) | Self::Mismatch(_) => false,
        }
    }
}
